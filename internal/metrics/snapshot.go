package metrics

import (
	"cmp"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/internal/daemon"
	"github.com/ctwarden/ctwarden/policy"
)

// A Snapshot is what a daemon knows at one moment.
type Snapshot struct {
	Version string
	// Since is when the daemon was started.
	Since  time.Time
	Status daemon.Status
	// Sources are what it listens to, by name.
	Sources map[string]Source
	// Changed is the number of kernel values that wait to be put back.
	Changed int
	Audit   Audit
	Process Process
}

// A Source is one way in which the kernel's log is heard.
type Source struct {
	Alive bool
	// Heard counts lines about full tables, Lost records that were
	// overwritten unread, Reopened how often it was opened anew.
	Heard, Lost, Reopened uint64
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

// Process is what the daemon costs.
type Process struct {
	CPU      time.Duration
	Resident uint64 // bytes
	OpenFDs  int
}

// maxTables bounds the series of a host with thousands of namespaces: its own
// table and the fullest of the others are told.
const maxTables = 64

// Write writes a page of every metric.
func Write(w io.Writer, s *Snapshot, t *Tally) error {
	p := newPage(w)
	s.writeDaemon(p)
	if len(s.Status.Tables) > 0 {
		s.writeHost(p, &s.Status.Tables[0])
		s.writeTables(p)
	}
	s.writeSources(p)
	t.write(p)
	return p.w.Flush()
}

func (s *Snapshot) writeDaemon(p *page) {
	p.gauge("build_info", "Always 1; the version is in the labels.")
	p.sample(1, "version", s.Version, "goversion", runtime.Version())
	p.one("start_time_seconds", "When the daemon was started, in seconds since 1970.", seconds(s.Since))
	p.one("last_turn_time_seconds", "When the table was last looked at, in seconds since 1970.", seconds(s.Status.At))
	p.gauge("mode", "1 for the mode in force: enforce acts, observe only tells.")
	for _, m := range [...]policy.Mode{policy.Enforce, policy.Observe} {
		p.sample(truth(s.Status.Mode == m), "mode", m.String())
	}
	p.one("changed_values", "Kernel values that ctwarden has changed and not put back; ctwarden status names them.", float64(s.Changed))
	p.one("troubles", "Errors that the daemon lives with; ctwarden status names them.", float64(len(s.Status.Trouble)))
	p.one("audit_healthy", "Whether the audit log can be written: without it, and without journald, nothing is done.", truth(s.Audit.Healthy))
	p.one("audit_sequence", "Number of the last record of the audit log.", float64(s.Audit.Seq))
	p.one("audit_lost_records", "Records that exist nowhere since the log was last written.", float64(s.Audit.Lost))
	p.counter("process_cpu_seconds_total", "Processor time that the daemon has used.")
	p.sample(s.Process.CPU.Seconds())
	p.one("process_resident_memory_bytes", "Memory that the daemon occupies.", float64(s.Process.Resident))
	p.one("process_open_fds", "Files that the daemon has open.", float64(s.Process.OpenFDs))
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// writeHost writes what is one for the whole host.
func (s *Snapshot) writeHost(p *page, t *daemon.TableStatus) {
	a := &t.Assessment
	o := &a.Observation
	p.one("budget_bytes", "Memory that entries and hash may take.", float64(a.Budget.Bytes))
	p.one("budget_max_entries", "Highest nf_conntrack_max within the memory budget and the ceiling.", float64(a.Budget.Max))
	p.one("budget_usable", "Whether max may be raised now: the memory is known and not short.", truth(a.Budget.Hold == policy.NotHeld))
	p.one("entry_bytes", "Memory that one entry takes, as the budget counts it.", float64(a.Budget.PerEntry))
	p.one("memory_pressure_ratio", "Share of the last 10 s in which some task waited for memory (PSI).", float64(o.Memory.Pressure)/10000)
	p.gauge("writable", "Whether this kernel and these privileges let a thing be changed.")
	k := o.Kernel
	p.sample(truth(k.MaxWritable), "what", "max")
	p.sample(truth(k.BucketsWritable), "what", "buckets")
	p.sample(truth(k.TimeoutsWritable), "what", "timeouts")
	p.sample(truth(k.Entries), "what", "entries")
	p.one("paused_seconds", "How long a person's pause still lasts; 0 without one.", left(t.State.PausedUntil, o.Now))
	p.one("breaker_open_seconds", "How long the breaker still keeps ctwarden's hands off; 0 when it is closed.", left(t.State.HandsOffUntil, o.Now))
	p.one("tables", "Network namespaces whose table is watched; the series of the fullest ones are told.", float64(len(s.Status.Tables)))
}

func left(until, now policy.Moment) float64 { return until.Since(now).Seconds() }

// told returns the tables that are told: the own one, then the fullest.
func (s *Snapshot) told() []daemon.TableStatus {
	tables := s.Status.Tables
	if len(tables) <= maxTables {
		return tables
	}
	tables = slices.Clone(tables)
	slices.SortStableFunc(tables[1:], func(a, b daemon.TableStatus) int {
		return cmp.Compare(b.Assessment.Fullness, a.Assessment.Fullness)
	})
	return tables[:maxTables]
}

// A column is one metric of every table.
type column struct {
	name, help string
	value      func(*daemon.TableStatus) float64
}

func gauges() []column {
	return []column{
		{"table_present", "Whether there is a table: nf_conntrack is loaded.",
			func(t *daemon.TableStatus) float64 { return truth(!t.Assessment.Observation.Absent) }},
		{"table_entries", "Entries of the table (nf_conntrack_count).",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Observation.Table.Entries) }},
		{"table_max_entries", "Most entries that the table takes (nf_conntrack_max); 0 is no limit.",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Observation.Table.Max) }},
		{"table_buckets", "Buckets of the hash that all tables share.",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Observation.Table.Buckets) }},
		{"table_fullness_ratio", "Entries divided by max.",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Fullness) / 10000 }},
		{"table_growth_entries_per_second", "Smoothed growth that the forecast is made from; negative when the table empties.",
			func(t *daemon.TableStatus) float64 { return t.Assessment.Trend.Rate() }},
		{"table_full_in_seconds", "Time until the table is full at the present growth; +Inf when it does not grow.", fullIn},
		{"incident_open", "Whether an incident is open.",
			func(t *daemon.TableStatus) float64 { return truth(t.Incident != "") }},
	}
}

func counters() []column {
	return []column{
		{"table_dropped_packets_total", "Packets dropped: table full, no memory, or an entry not insertable.",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Observation.Table.Counters.Drop) }},
		{"table_full_dropped_packets_total", "Packets dropped because the table was full or the kernel had no memory.",
			func(t *daemon.TableStatus) float64 {
				return float64(t.Assessment.Observation.Table.Counters.FullDrops())
			}},
		{"table_early_dropped_entries_total", "Entries that the kernel evicted to make room at max; their packets passed.",
			func(t *daemon.TableStatus) float64 { return float64(t.Assessment.Observation.Table.Counters.EarlyDrop) }},
		{"table_insert_failed_total", "Entries that could not be inserted: they clashed, or a chain was too long.",
			func(t *daemon.TableStatus) float64 {
				return float64(t.Assessment.Observation.Table.Counters.InsertFailed)
			}},
		{"table_chain_too_long_total", "Entries refused because a hash chain was too long.",
			func(t *daemon.TableStatus) float64 {
				return float64(t.Assessment.Observation.Table.Counters.ChainTooLong)
			}},
	}
}

func fullIn(t *daemon.TableStatus) float64 {
	if t.Assessment.FullIn >= policy.Never {
		return math.Inf(1)
	}
	return t.Assessment.FullIn.Seconds()
}

func (s *Snapshot) writeTables(p *page) {
	tables := s.told()
	each := func(fn func(t *daemon.TableStatus, netns string)) {
		for i := range tables {
			fn(&tables[i], strconv.FormatUint(uint64(tables[i].NetNS), 10))
		}
	}
	for _, c := range gauges() {
		p.gauge(c.name, c.help)
		each(func(t *daemon.TableStatus, netns string) { p.sample(c.value(t), "netns", netns) })
	}
	for _, c := range counters() {
		p.counter(c.name, c.help)
		each(func(t *daemon.TableStatus, netns string) { p.sample(c.value(t), "netns", netns) })
	}
	p.gauge("level", "1 for the level of the table.")
	each(func(t *daemon.TableStatus, netns string) {
		for l := policy.Calm; l <= policy.Exhausted; l++ {
			p.sample(truth(t.Level == l), "netns", netns, "level", l.String())
		}
	})
	p.gauge("cause", "1 for what the trouble of the table comes from; none without trouble.")
	each(func(t *daemon.TableStatus, netns string) {
		for c := policy.NoCause; c <= policy.NoMemory; c++ {
			p.sample(truth(t.Cause == c), "netns", netns, "cause", c.String())
		}
	})
	p.gauge("held", "1 with what holds ctwarden back at the moment; calm, enough and awaiting_effect are ordinary.")
	each(func(t *daemon.TableStatus, netns string) {
		if t.Held != policy.NotHeld {
			p.sample(1, "netns", netns, "hold", t.Held.String())
		}
	})
}

func (s *Snapshot) writeSources(p *page) {
	names := make([]string, 0, len(s.Sources))
	for name := range s.Sources {
		names = append(names, name)
	}
	slices.Sort(names)
	each := func(value func(Source) float64) {
		for _, name := range names {
			p.sample(value(s.Sources[name]), "source", name)
		}
	}
	if len(names) == 0 {
		return
	}
	p.gauge("source_alive", "Whether the kernel's log is heard through this source; without any, the counters still tell.")
	each(func(s Source) float64 { return truth(s.Alive) })
	p.counter("source_lines_total", "Lines about full tables that were heard.")
	each(func(s Source) float64 { return float64(s.Heard) })
	p.counter("source_lost_records_total", "Records of the kernel's log that were overwritten unread.")
	each(func(s Source) float64 { return float64(s.Lost) })
	p.counter("source_reopened_total", "How often the source was opened anew.")
	each(func(s Source) float64 { return float64(s.Reopened) })
}
