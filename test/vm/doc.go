// Command vm runs the kernel-facing tests as root on Debian's own kernels, each in a qemu machine of its own. `make kernels`
// runs it: it prints the events of `go test -json`, and lines for people, for gotestsum.
//
// A machine has no disk: an initramfs holds this program as init, the kernel's connection tracking modules and static test
// binaries.
package main
