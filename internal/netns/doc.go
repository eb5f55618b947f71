// Package netns opens, makes and enters network namespaces: each is an open file
// and an operating system thread that stays in the namespace. It never moves a
// thread that other goroutines could get.
package netns
