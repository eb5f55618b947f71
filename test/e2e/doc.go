// Command e2e proves the packages on whole systems: Debian in a qemu machine with its own kernel, systemd and journald,
// and the deb and the rpm in roots of their own, without a systemd that runs. `make e2e` runs it: it prints the events of
// `go test -json`, and lines for people, for gotestsum.
//
// A machine installs the deb, is flooded out of a second network namespace while the daemon is killed, reloaded and
// upgraded, while its disk is full, its journal is gone or the table is another namespace's, reboots, serves metrics on the
// network, removes and purges, and survives a flood with the rpm. A script inside checks after each step what the
// journal, the audit log and the kernel report.
package main
