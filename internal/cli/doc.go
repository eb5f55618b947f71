// Package cli is the command line of ctwarden: each command reads its flags,
// calls another package and prints what came back. It decides nothing.
//
// It alone prints to the terminal: lines on standard error begin with "ctwarden: ",
// without capital or full stop, and a hint is a command to paste.
package cli
