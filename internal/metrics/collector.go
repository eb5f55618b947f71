package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/status"
)

// A family is one metric and how it is made from a snapshot.
type family struct {
	kind       prometheus.ValueType
	name, help string
	labels     []string
	collect    func(s *snapshot, emit emitFunc)
}

// An emitFunc takes one value with its labels, in the order of the family's.
type emitFunc func(value float64, labels ...string)

// gauge is a family of one gauge without labels.
func gauge(name, help string, value func(*snapshot) float64) family {
	return family{prometheus.GaugeValue, name, help, nil, func(s *snapshot, emit emitFunc) { emit(value(s)) }}
}

// A snapshotCollector makes constant metrics from a status at each reading,
// so that no label outlives the namespace that it names.
type snapshotCollector struct {
	query    func() *status.Status
	families []family
	descs    []*prometheus.Desc

	mu    sync.Mutex // so that the marks are of one snapshot after the other
	marks map[uint32]mark
}

// A mark is how far the counters of a table had come.
type mark struct{ drop, full uint64 }

func newSnapshotCollector(query func() *status.Status) *snapshotCollector {
	s := &snapshotCollector{query: query, families: families()}
	for _, f := range s.families {
		s.descs = append(s.descs, prometheus.NewDesc(prefix+"_"+f.name, f.help, f.labels, nil))
	}
	return s
}

// Describe implements prometheus.Collector.
func (s *snapshotCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *snapshotCollector) Collect(out chan<- prometheus.Metric) {
	now := s.snapshot()
	for i, f := range s.families {
		f.collect(&now, func(value float64, labels ...string) {
			for j := range labels {
				labels[j] = strings.ToValidUTF8(labels[j], "\uFFFD")
			}
			m, err := prometheus.NewConstMetric(s.descs[i], f.kind, value, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(s.descs[i], err)
			}
			out <- m
		})
	}
}

// snapshot returns the status with the tables that have series.
func (s *snapshotCollector) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.query()
	s.marks = advance(s.marks, now.Tables)
	return snapshot{now, fullest(now.Tables), s.marks}
}

// advance returns how far the counters of the tables have come. What was dropped
// because the table was full is a difference of counters that the kernel does not count in
// one step, nor always together: a Prometheus server would take one step back
// for a restart, and count everything again.
func advance(before map[uint32]mark, tables []loop.TableStatus) map[uint32]mark {
	now := make(map[uint32]mark, len(tables))
	for i := range tables {
		c := &tables[i].Assessment.Observation.Table.Counters
		m := mark{c.Drop, c.FullDrops()}
		// Fewer drops are those of another table, which has the number of one that
		// is gone.
		if last := before[tables[i].NetNS]; m.drop >= last.drop {
			m.full = max(m.full, last.full)
		}
		now[tables[i].NetNS] = m
	}
	return now
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
