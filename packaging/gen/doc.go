// Command gen writes the man pages, completions and changelog of a package.
//
// The pages and completions are made from the command line of internal/cli and the keys of internal/config, so they cannot
// differ from the program. The same inputs give the same bytes: no clock and no host name.
package main
