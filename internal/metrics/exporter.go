package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/status"
)

// prefix begins every name. It also keeps the figures of the process apart
// from node_exporter's own, which are in one text with a textfile.
const prefix = "ctwarden"

// An Exporter has every metric of one daemon in a registry of its own. Its
// methods may be called from several goroutines.
type Exporter struct {
	registry *prometheus.Registry
	events   *eventCounter
	serve    http.HandlerFunc
}

// New returns an exporter that calls query at each reading, and does not change
// what query returns.
func New(query func() *status.Status) *Exporter {
	e := &Exporter{registry: prometheus.NewRegistry(), events: newEventCounter()}
	e.registry.MustRegister(newSnapshotCollector(query), newProcessCollector())
	e.registry.MustRegister(e.events.collectors()...)
	e.serve = promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError,
		// The text is small, and a compressor takes more memory than all of it.
		DisableCompression: true,
	}).ServeHTTP
	return e
}

// Count counts one record of the audit log.
func (e *Exporter) Count(r audit.Record) { e.events.count(&r) }

// ServeHTTP sends the metrics, whole or not at all: half of them would be
// counters that went back.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.serve(w, r) }

// WriteFile replaces the file at path by the metrics, whole, and readable for
// every user: node_exporter reads it at any time, as another user.
func (e *Exporter) WriteFile(path string) error {
	return prometheus.WriteToTextfile(path, e.registry)
}
