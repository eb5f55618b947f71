package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/loop"
)

// A Snapshot is what a daemon knows at one moment.
type Snapshot struct {
	Version string
	// Since is when the daemon was started.
	Since  time.Time
	Status loop.Status
	// Sources are what it listens to, by name.
	Sources map[string]Source
	// Neighbours are the other network namespaces; nil: they are not watched.
	Neighbours *Neighbours
	// Changed is the number of kernel values that wait to be put back.
	Changed int
	Audit   Audit

	// tables is how many there are, of which Status has the fullest, and full
	// what was dropped for want of room, by network namespace.
	tables int
	full   map[uint32]mark
}

// A Source is one way in which the kernel's log is heard.
type Source struct {
	Alive bool
	// Heard counts lines about full tables, Lost records that were
	// overwritten unread, Reopened how often it was opened anew, Missed the
	// lines that came too late to be acted on.
	Heard, Lost, Reopened, Missed uint64
	// At is when the last record of any kind was read.
	At time.Time
}

// Neighbours is what the last sweep of the other network namespaces found.
type Neighbours struct {
	// Found are those that there are, Unread those of them that could not be
	// read, Hidden the processes whose namespace is not known.
	Found, Unread, Hidden int
	// Entries is the sum of all, Most what the fullest one holds.
	Entries, Most uint64
	// Took is how long the sweep took.
	Took time.Duration
}

// Audit is how the audit log is.
type Audit struct {
	// Seq is the number of the last record.
	Seq uint64
	// Healthy says that the file can be written, Lost counts records that
	// exist nowhere.
	Healthy bool
	Lost    uint64
}

// maxTables bounds the series of a host with thousands of namespaces: its own
// table and the fullest of the others are told.
const maxTables = 64

// fullest returns the tables that are told: the own one, then the fullest.
func fullest(tables []loop.TableStatus) []loop.TableStatus {
	if len(tables) <= maxTables {
		return tables
	}
	tables = slices.Clone(tables)
	slices.SortStableFunc(tables[1:], func(a, b loop.TableStatus) int {
		return cmp.Compare(b.Assessment.Fullness, a.Assessment.Fullness)
	})
	return tables[:maxTables]
}
