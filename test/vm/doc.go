// Command vm runs the kernel-facing tests as root on Debian's own kernels, each in a qemu machine of its own.
//
// A machine has no disk and no network: an initramfs holds this program as init, the kernel's connection tracking
// modules and static test binaries. The kernel speaks on the first serial port and the tests on the second, so that a
// kernel line never lands in the middle of a test's. Emulation is TCG: it is slow and works on every CI machine.
package main
