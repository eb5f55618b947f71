package metrics

import (
	"cmp"
	"slices"

	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/status"
)

// A snapshot is the status of a daemon when the metrics are read.
type snapshot struct {
	*status.Status
	// shown are the tables that have series.
	shown []loop.TableStatus
	// full are the packets dropped because the table was full, by network namespace.
	full map[uint32]mark
}

// maxTables bounds the series of a host with thousands of namespaces: its own
// table and the fullest of the others have series.
const maxTables = 64

// fullest returns the tables that have series: the own one, then the fullest.
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
