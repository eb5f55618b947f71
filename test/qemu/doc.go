// Package qemu starts a virtual machine and reads what its guest writes to the second serial port. The kernel writes to
// the first one, so that a kernel line never lands in the middle of a guest's.
//
// A machine has no network. Its log directory keeps both ports. Emulation is TCG: it is slow and works on every CI machine.
package qemu
