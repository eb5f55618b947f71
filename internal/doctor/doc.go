// Package doctor checks what ctwarden depends on: the module, the table, what
// the kernel's netlink can do, privileges, the kernel log and the journal,
// storage, the clock, other programs and files that set the same values, the
// other network namespaces and the daemon. It changes nothing, and tries what
// can only be known by trying in a network namespace of its own.
package doctor
