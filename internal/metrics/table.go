package metrics

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/policy"
)

// tableFamilies are those of each table, by the inode of its network namespace.
func tableFamilies() []family {
	return slices.Concat(tableGauges(), tableCounters(), tableStates())
}

func tableGauges() []family {
	gauge := func(name, help string, value func(*policy.Assessment) float64) family {
		return ofTables(prometheus.GaugeValue, name, help, nil,
			func(t *loop.TableStatus, emit emitFunc) { emit(value(&t.Assessment)) })
	}
	return []family{
		gauge("table_present", "Whether there is a table: nf_conntrack is loaded.",
			func(a *policy.Assessment) float64 { return boolValue(!a.Observation.Absent) }),
		gauge("table_entries", "Entries of the table (nf_conntrack_count).",
			func(a *policy.Assessment) float64 { return float64(a.Observation.Table.Entries) }),
		gauge("table_max_entries", "Limit of the table (nf_conntrack_max); 0 is no limit.",
			func(a *policy.Assessment) float64 { return float64(a.Observation.Table.Max) }),
		gauge("table_buckets", "Buckets of the hash that all tables share.",
			func(a *policy.Assessment) float64 { return float64(a.Observation.Table.Buckets) }),
		gauge("table_fullness_ratio", "Entries divided by max.",
			func(a *policy.Assessment) float64 { return float64(a.Fullness) / 10000 }),
		gauge("table_growth_entries_per_second", "Smoothed growth, from which the forecast is made; negative when the table empties.",
			func(a *policy.Assessment) float64 { return a.Trend.Rate() }),
		gauge("table_full_in_seconds", "Time until the table is full at the present growth; +Inf when it does not grow.", fullIn),
	}
}

func tableCounters() []family {
	counter := func(name, help string, value func(*conntrack.Counters) uint64) family {
		return ofTables(prometheus.CounterValue, name, help, nil,
			func(t *loop.TableStatus, emit emitFunc) {
				emit(float64(value(&t.Assessment.Observation.Table.Counters)))
			})
	}
	return []family{
		counter("table_dropped_packets_total", "Packets dropped: table full, no memory, or an entry not insertable.",
			func(c *conntrack.Counters) uint64 { return c.Drop }),
		{prometheus.CounterValue, "table_full_dropped_packets_total",
			"Packets dropped because the table was full or the kernel had no memory; valid only while an incident is open.", []string{"netns"},
			func(s *snapshot, emit emitFunc) {
				for i := range s.shown {
					netns := s.shown[i].NetNS
					emit(float64(s.full[netns].full), inode(netns))
				}
			}},
		counter("table_early_dropped_entries_total", "Entries that the kernel evicted to make room at max; their packets passed.",
			func(c *conntrack.Counters) uint64 { return c.EarlyDrop }),
		counter("table_insert_failed_total", "Entries that could not be inserted: a clash, or a chain that was too long.",
			func(c *conntrack.Counters) uint64 { return c.InsertFailed }),
		counter("table_chain_too_long_total", "Entries refused because a hash chain was too long.",
			func(c *conntrack.Counters) uint64 { return c.ChainTooLong }),
	}
}

func tableStates() []family {
	return []family{
		ofTables(prometheus.GaugeValue, "table_info", "Always 1; the name of the network namespace is in the label.", []string{"name"},
			func(t *loop.TableStatus, emit emitFunc) { emit(1, cmp.Or(t.Name, "host")) }),
		ofTables(prometheus.GaugeValue, "incident_open", "Whether an incident is open.", nil,
			func(t *loop.TableStatus, emit emitFunc) { emit(boolValue(t.Incident != "")) }),
		ofTables(prometheus.GaugeValue, "level", "1 for the level of the table.", []string{"level"},
			func(t *loop.TableStatus, emit emitFunc) {
				for l := policy.Calm; l <= policy.Exhausted; l++ {
					emit(boolValue(t.Level == l), l.String())
				}
			}),
		ofTables(prometheus.GaugeValue, "cause", "1 for the cause of the table's trouble; none without trouble.", []string{"cause"},
			func(t *loop.TableStatus, emit emitFunc) {
				for c := policy.NoCause; c <= policy.NoMemory; c++ {
					emit(boolValue(t.Cause == c), c.String())
				}
			}),
		ofTables(prometheus.GaugeValue, "held", "1 for the reason why ctwarden does not act now; calm, enough and awaiting_effect are ordinary.", []string{"hold"},
			func(t *loop.TableStatus, emit emitFunc) {
				if t.Held != policy.NotHeld {
					emit(1, t.Held.String())
				}
			}),
	}
}

// ofTables is a family with samples for each table.
func ofTables(kind prometheus.ValueType, name, help string, labels []string, collect func(*loop.TableStatus, emitFunc)) family {
	return family{kind, name, help, append([]string{"netns"}, labels...), func(s *snapshot, emit emitFunc) {
		for i := range s.shown {
			t := &s.shown[i]
			collect(t, func(value float64, labels ...string) {
				emit(value, append([]string{inode(t.NetNS)}, labels...)...)
			})
		}
	}}
}

func inode(netns uint32) string { return strconv.FormatUint(uint64(netns), 10) }

func fullIn(a *policy.Assessment) float64 {
	if a.FullIn >= policy.Never {
		return math.Inf(1)
	}
	return a.FullIn.Seconds()
}
