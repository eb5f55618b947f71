package metrics

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// families returns every metric that is made from a status.
func families() []family {
	return slices.Concat(daemonFamilies(), hostFamilies(), tableFamilies(), sourceFamilies(), namespaceFamilies())
}

func daemonFamilies() []family {
	return []family{
		{prometheus.GaugeValue, "build_info", "Always 1; the version is in the labels.", []string{"version", "goversion"},
			func(s *snapshot, emit emitFunc) { emit(1, s.Version, runtime.Version()) }},
		gauge("start_time_seconds", "When the daemon started, in seconds since 1970.",
			func(s *snapshot) float64 { return seconds(s.Since) }),
		gauge("last_turn_time_seconds", "When the table was last measured, in seconds since 1970.",
			func(s *snapshot) float64 { return seconds(s.At) }),
		{prometheus.GaugeValue, "mode", "1 for the mode in force: enforce acts, observe only records.", []string{"mode"},
			func(s *snapshot, emit emitFunc) {
				for _, m := range [...]policy.Mode{policy.Enforce, policy.Observe} {
					emit(boolValue(s.Mode == m), m.String())
				}
			}},
		gauge("changed_values", "Kernel values that ctwarden has changed and not put back; ctwarden status names them.",
			func(s *snapshot) float64 { return float64(len(s.Changed)) }),
		gauge("troubles", "Present errors that do not stop the daemon; ctwarden status names them.",
			func(s *snapshot) float64 { return float64(len(s.Errors)) }),
		gauge("audit_healthy", "Whether the audit log can be written: without it and without journald nothing is done.",
			func(s *snapshot) float64 { return boolValue(s.Audit != nil && s.Audit.Error == "") }),
		ofAudit("audit_sequence", "Number of the last record of the audit log.",
			func(a *status.Audit) float64 { return float64(a.Seq) }),
		ofAudit("audit_lost_records", "Records lost since the log was last written.",
			func(a *status.Audit) float64 { return float64(a.Lost) }),
	}
}

func ofAudit(name, help string, value func(*status.Audit) float64) family {
	return family{prometheus.GaugeValue, name, help, nil, func(s *snapshot, emit emitFunc) {
		if s.Audit != nil {
			emit(value(s.Audit))
		}
	}}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// hostFamilies are those of the whole host. The own table has their values, once
// it has been measured.
func hostFamilies() []family {
	host := func(name, help string, value func(*policy.Assessment) float64) family {
		return family{prometheus.GaugeValue, name, help, nil, func(s *snapshot, emit emitFunc) {
			if len(s.Tables) > 0 {
				emit(value(&s.Tables[0].Assessment))
			}
		}}
	}
	state := func(name, help string, until func(*policy.State) policy.BootTime) family {
		return family{prometheus.GaugeValue, name, help, nil, func(s *snapshot, emit emitFunc) {
			if len(s.Tables) > 0 {
				t := &s.Tables[0]
				emit(until(&t.State).Since(t.Assessment.Observation.Now).Seconds())
			}
		}}
	}
	return []family{
		host("budget_bytes", "Memory that entries and hash may take.",
			func(a *policy.Assessment) float64 { return float64(a.Budget.Bytes) }),
		host("budget_max_entries", "Highest nf_conntrack_max within the memory budget and the ceiling.",
			func(a *policy.Assessment) float64 { return float64(a.Budget.Max) }),
		host("budget_usable", "Whether max may be raised now: the memory is known and not short.",
			func(a *policy.Assessment) float64 { return boolValue(a.Budget.Hold == policy.NotHeld) }),
		host("entry_bytes", "Memory that one entry takes, as the budget counts it.",
			func(a *policy.Assessment) float64 { return float64(a.Budget.PerEntry) }),
		host("memory_pressure_ratio", "Share of the last 10 s in which a task waited for memory (PSI).",
			func(a *policy.Assessment) float64 { return float64(a.Observation.Memory.Pressure) / 10000 }),
		{prometheus.GaugeValue, "writable", "Whether ctwarden can change the thing on this kernel with its privileges.", []string{"what"}, emitWritable},
		state("paused_seconds", "Rest of a requested pause; 0 without one.",
			func(s *policy.State) policy.BootTime { return s.PausedUntil }),
		state("breaker_open_seconds", "Rest of the breaker's pause; 0 when it is closed.",
			func(s *policy.State) policy.BootTime { return s.SafetyPauseUntil }),
		{prometheus.GaugeValue, "tables", "Network namespaces whose table is watched; the fullest ones have series.", nil,
			func(s *snapshot, emit emitFunc) {
				if len(s.Tables) > 0 {
					emit(float64(len(s.Tables)))
				}
			}},
	}
}

func emitWritable(s *snapshot, emit emitFunc) {
	if len(s.Tables) == 0 {
		return
	}
	k := s.Tables[0].Assessment.Observation.Kernel
	emit(boolValue(k.MaxWritable), "max")
	emit(boolValue(k.BucketsWritable), "buckets")
	emit(boolValue(k.TimeoutsWritable), "timeouts")
	emit(boolValue(k.Entries), "entries")
}

func sourceFamilies() []family {
	source := func(kind prometheus.ValueType, name, help string, value func(*status.Source) float64) family {
		return family{kind, name, help, []string{"source"}, func(s *snapshot, emit emitFunc) {
			for name, source := range s.Sources {
				emit(value(&source), name)
			}
		}}
	}
	return []family{
		source(prometheus.GaugeValue, "source_alive", "Whether the kernel log is received through this source; without any, the counters remain.",
			func(s *status.Source) float64 { return boolValue(s.Alive) }),
		source(prometheus.CounterValue, "source_lines_total", "Lines about full tables that were received.",
			func(s *status.Source) float64 { return float64(s.Lines) }),
		source(prometheus.CounterValue, "source_lost_records_total", "Records of the kernel log that were overwritten unread.",
			func(s *status.Source) float64 { return float64(s.Lost) }),
		source(prometheus.CounterValue, "source_reopened_total", "How often the source was reopened.",
			func(s *status.Source) float64 { return float64(s.Reopened) }),
		source(prometheus.CounterValue, "source_missed_lines_total", "Lines about full tables that came too late for an action.",
			func(s *status.Source) float64 { return float64(s.Missed) }),
		source(prometheus.GaugeValue, "source_last_record_time_seconds", "When the source last had a record, in seconds since 1970; 0 for never.",
			func(s *status.Source) float64 { return seconds(s.At) }),
	}
}

// namespaceFamilies are of the other network namespaces, where they are
// watched.
func namespaceFamilies() []family {
	others := func(name, help string, value func(*watcher.NamespacesReport) float64) family {
		return family{prometheus.GaugeValue, name, help, nil, func(s *snapshot, emit emitFunc) {
			if s.Namespaces != nil {
				emit(value(s.Namespaces))
			}
		}}
	}
	return []family{
		others("netns_found", "Other network namespaces.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.Namespaces) }),
		others("netns_unread", "Other network namespaces whose table could not be read.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.Unread) }),
		others("netns_hidden_processes", "Processes whose network namespace could not be read.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.Hidden) }),
		others("netns_entries", "Entries in the tables of all other network namespaces.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.Entries) }),
		others("netns_fullest_entries", "Entries in the fullest table of another network namespace.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.Most) }),
		others("netns_sweep_seconds", "Time of the last sweep of all other network namespaces.",
			func(n *watcher.NamespacesReport) float64 { return float64(n.SweepNS) / 1e9 }),
	}
}
