// Package netns keeps a network namespace at hand: an open file that names it
// and an operating system thread that lives in it. It enters namespaces and
// makes fresh ones; it never moves a thread that other goroutines could get.
package netns
