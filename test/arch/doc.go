// Package arch holds the rules of the code's shape: the permitted imports, which packages are pure, where a program may
// print, exit or keep state, and how long a file or a function may grow. It reads the source and needs no build, so it
// judges a tree that does not compile too.
package arch
