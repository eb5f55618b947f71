// Package control is the control socket of a running daemon, server and client: HTTP
// with JSON on a unix socket, for the group that owns the socket. It decides nothing
// and does not interpret what it passes on.
package control
