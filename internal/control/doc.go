// Package control is the unix socket on which a running daemon answers: HTTP
// with JSON, for the group that owns the socket. It decides nothing and knows
// nothing of what it passes on.
package control
