package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A processCollector collects the processor time, memory and files of the
// process. It leaves out the library's traffic of the process: the library reads
// /proc/PID/net/netstat, which counts the whole network namespace, here the
// host's.
type processCollector struct{ prometheus.Collector }

func newProcessCollector() processCollector {
	return processCollector{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: prefix})}
}

// Describe implements prometheus.Collector.
func (c processCollector) Describe(out chan<- *prometheus.Desc) {
	filter(c.Collector.Describe, out, func(d *prometheus.Desc) *prometheus.Desc { return d })
}

// Collect implements prometheus.Collector.
func (c processCollector) Collect(out chan<- prometheus.Metric) {
	filter(c.Collector.Collect, out, prometheus.Metric.Desc)
}

// filter forwards the values that from sends, except those about the network.
func filter[T any](from func(chan<- T), out chan<- T, desc func(T) *prometheus.Desc) {
	in := make(chan T)
	go func() { defer close(in); from(in) }()
	for v := range in {
		if !strings.Contains(desc(v).String(), prefix+"_process_network_") {
			out <- v
		}
	}
}
