// Package sysctl reads the number in a sysctl's file and finds out whether the
// file can be written. It writes nothing.
package sysctl
