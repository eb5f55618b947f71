package policy

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// An Observation is what is known about one table at one moment. A decision
// uses nothing else, besides Limits and State.
type Observation struct {
	// At is the wall clock, for people. Nothing is computed from it.
	At time.Time `json:"at"`
	// Now is the moment that every interval is computed from.
	Now BootTime `json:"now"`
	// Absent is true when there is no table: the module is not loaded.
	Absent bool `json:"absent,omitempty"`
	// Table is the reading itself.
	Table conntrack.Table `json:"table"`
	// Full counts the kernel's "table full" lines about this table since the
	// observation before, Elsewhere those that name another namespace. The
	// lines are rate limited with all of networking (10 in 5 s), so they are
	// a trigger and never a measure.
	Full      uint32 `json:"full,omitempty"`
	Elsewhere uint32 `json:"elsewhere,omitempty"`
	// Timeouts are the values in force in this namespace.
	Timeouts conntrack.Timeouts `json:"timeouts"`
	// Memory is the host's memory.
	Memory Memory `json:"memory"`
	// Host is what the budget has to know of all namespaces together.
	Host Host `json:"host"`
	// Census is the last census of the table; CensusAt is when. The zero
	// BootTime means that there is none.
	Census   census.Summary `json:"census,omitzero"`
	CensusAt BootTime       `json:"census_at,omitzero"`
	// Kernel is what this kernel and these privileges permit, by probe.
	Kernel Kernel `json:"kernel"`
	// Jitter is where this host stands among those of a fleet, from 0 to 10000:
	// any number that differs from host to host. See JitterLimits.
	Jitter conntrack.Permyriad `json:"phase,omitempty"`
}

// Memory is a reading of the host's memory. The zero Memory is "unknown":
// nothing that costs memory is done.
type Memory struct {
	// Total and Available are MemTotal and MemAvailable in bytes.
	Total     uint64 `json:"total"`
	Available uint64 `json:"available"`
	// Pressure is PSI memory "some avg10" in hundredths of a percent; 0 also
	// where the kernel has no PSI.
	Pressure conntrack.Permyriad `json:"pressure,omitempty"`
	// EntryBytes is the slab size of one entry, without its extension area.
	EntryBytes uint32 `json:"entry_bytes"`
	// Assumed is true when EntryBytes is the worst known value and was not read.
	Assumed bool `json:"assumed,omitempty"`
}

// Host sums up what is shared by all namespaces.
type Host struct {
	// Entries is the sum of the entries of all known namespaces; they share
	// one hash table (Linux 4.8 and later).
	Entries uint64 `json:"entries"`
	// Tables is the number of namespaces that hold entries, and so could
	// fill up to max each. 0 counts as 1.
	Tables uint32 `json:"tables"`
}

// Kernel is what can be done here. The zero Kernel permits nothing.
type Kernel struct {
	// MaxWritable and BucketsWritable are true when those sysctls can be
	// written. RHEL 7 has read-only buckets; other namespaces than the first
	// have both read-only.
	MaxWritable     bool `json:"max_writable"`
	BucketsWritable bool `json:"buckets_writable"`
	// TimeoutsWritable is true when the timeouts of this namespace can be.
	TimeoutsWritable bool `json:"timeouts_writable"`
	// Entries is true when ctnetlink works: entries can be listed, aged and
	// deleted.
	Entries bool `json:"entries"`
}
