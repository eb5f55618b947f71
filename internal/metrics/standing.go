package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// A family is one metric and what a snapshot says of it.
type family struct {
	kind       prometheus.ValueType
	name, help string
	labels     []string
	tell       func(s *Snapshot, sample sampler)
}

// A sampler takes one value with its labels, in the order of the family's.
type sampler func(value float64, labels ...string)

// one is a family of one gauge without labels.
func one(name, help string, value func(*Snapshot) float64) family {
	return family{prometheus.GaugeValue, name, help, nil, func(s *Snapshot, sample sampler) { sample(value(s)) }}
}

// A standing tells how things stand. Everything is a constant at the moment of
// reading, so that no label outlives the namespace that it names.
type standing struct {
	look     func() Snapshot
	families []family
	descs    []*prometheus.Desc
}

func newStanding(look func() Snapshot) *standing {
	s := &standing{look: look, families: families()}
	for _, f := range s.families {
		s.descs = append(s.descs, prometheus.NewDesc(prefix+"_"+f.name, f.help, f.labels, nil))
	}
	return s
}

// Describe implements prometheus.Collector.
func (s *standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *standing) Collect(out chan<- prometheus.Metric) {
	now := s.look()
	now.tables = len(now.Status.Tables)
	now.Status.Tables = fullest(now.Status.Tables)
	for i, f := range s.families {
		f.tell(&now, func(value float64, labels ...string) {
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

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
