package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/status"
)

// prefix begins every name. It also keeps the figures of the process apart
// from node_exporter's own, which share a page with a textfile.
const prefix = "ctwarden"

// A Page is every metric of one daemon, in a registry of its own. Its methods
// may be called from several goroutines.
type Page struct {
	registry *prometheus.Registry
	tally    *tally
	serve    http.HandlerFunc
}

// New returns a page that calls look whenever it is read, and does not change
// what look returns.
func New(look func() *status.Status) *Page {
	p := &Page{registry: prometheus.NewRegistry(), tally: newTally()}
	p.registry.MustRegister(newStanding(look), newCost())
	p.registry.MustRegister(p.tally.collectors()...)
	p.serve = promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.HTTPErrorOnError,
		// The page is small, and a compressor takes more memory than all of it.
		DisableCompression: true,
	}).ServeHTTP
	return p
}

// Told counts one record of the audit log.
func (p *Page) Told(r audit.Record) { p.tally.told(&r) }

// ServeHTTP answers with the page, whole or not at all: half of one would be
// counters that went back.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r) }

// WriteFile replaces the file at path by the page, whole, and readable for
// every user: node_exporter reads it at any time, and is another one.
func (p *Page) WriteFile(path string) error {
	return prometheus.WriteToTextfile(path, p.registry)
}
