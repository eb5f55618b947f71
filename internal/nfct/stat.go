package nfct

// A CPUStat is one processor's row of the connection tracking statistics of
// one network namespace, as /proc/net/stat/nf_conntrack prints it and
// ctnetlink tells it (IPCTNL_MSG_CT_GET_STATS_CPU). The kernel counts in 32
// bits and wraps. A counter that this kernel does not have is 0.
type CPUStat struct {
	// Entries is the count of the whole namespace; procfs repeats it in each
	// row and ctnetlink leaves it out. It is not a per-processor number.
	Entries uint32
	// ClashResolve counts clashes of tuples that were resolved and whose
	// packet passed (Linux 5.10 and later; the column was "searched" before).
	ClashResolve uint32
	Found        uint32 // entries found that a new connection clashed with
	Invalid      uint32 // packets that could not be tracked
	Insert       uint32 // entries inserted; procfs prints 0 since 4.18
	InsertFailed uint32 // entries that could not be inserted
	Drop         uint32 // packets dropped: table full, no memory, or not insertable
	EarlyDrop    uint32 // entries evicted to make room at max
	Error        uint32 // packets with a broken header, ICMP mostly
	// SearchRestart counts lookups that a resize of the hash sent back to
	// the start.
	SearchRestart uint32
	// ChainTooLong is the part of InsertFailed that is due to a long hash
	// chain (Linux 5.15 and later, column "chainlength").
	ChainTooLong uint32
}
