package conntrack

// SysctlDir is the directory of the sysctls of connection tracking below
// /proc/sys.
const SysctlDir = "net/netfilter"

// The sysctls of the table, as files of SysctlDir. Those of the timeouts are
// Timeout.Sysctl.
const (
	SysctlCount   = "nf_conntrack_count"
	SysctlMax     = "nf_conntrack_max"
	SysctlBuckets = "nf_conntrack_buckets"
)
