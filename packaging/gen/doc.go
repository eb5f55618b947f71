// Command gen makes what a package holds beside the program: man pages, completions and the changelog.
//
// It asks the built program for its help and its reference, so a page says what this very program says. The same inputs
// give the same bytes: no clock, no host name, no compression level of an installed tool.
package main
