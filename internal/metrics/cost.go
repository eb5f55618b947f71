package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A cost tells what the process takes of the machine. It leaves out what the
// library calls the traffic of the process: that is what /proc/PID/net/netstat
// counts, the traffic of the whole network namespace, here the host's.
type cost struct{ prometheus.Collector }

func newCost() cost {
	return cost{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: prefix})}
}

// Describe implements prometheus.Collector.
func (c cost) Describe(out chan<- *prometheus.Desc) {
	pass(c.Collector.Describe, out, func(d *prometheus.Desc) *prometheus.Desc { return d })
}

// Collect implements prometheus.Collector.
func (c cost) Collect(out chan<- prometheus.Metric) {
	pass(c.Collector.Collect, out, prometheus.Metric.Desc)
}

// pass hands on what from sends, but for what is about the network.
func pass[T any](from func(chan<- T), out chan<- T, desc func(T) *prometheus.Desc) {
	in := make(chan T)
	go func() { defer close(in); from(in) }()
	for v := range in {
		if !strings.Contains(desc(v).String(), prefix+"_process_network_") {
			out <- v
		}
	}
}
