// Command ctwarden keeps the Linux connection tracking table from filling.
//
// This package ties the others together, and it alone speaks to people: lines
// on standard error begin with "ctwarden: ", without capital or full stop, and
// a hint is a command to paste.
package main
