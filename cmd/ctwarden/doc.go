// Command ctwarden keeps the Linux connection tracking table from filling.
//
// Package internal/cli is its command line, package internal/agent the daemon
// that "ctwarden run" starts.
package main
