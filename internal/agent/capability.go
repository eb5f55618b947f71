package agent

import "golang.org/x/sys/unix"

// canEnterNamespaces reports whether this process may enter other network namespaces:
// setns(2) needs CAP_SYS_ADMIN, and opening the namespace of another user's process
// needs CAP_SYS_PTRACE.
func canEnterNamespaces() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData // 64 bits
	if err := unix.Capget(&header, &have[0]); err != nil {
		return false // a seccomp filter forbids capget(2)
	}
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_PTRACE
	return have[0].Effective&needed == needed
}
