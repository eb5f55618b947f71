package agent

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A Report is how the daemon fares. Its JSON is a contract.
type Report struct {
	// Running says that a daemon answered; without one, only the table and
	// the ledger are told.
	Running bool      `json:"running"`
	Version string    `json:"version"`
	Since   time.Time `json:"since,omitzero"`
	loop.Status
	Sources map[string]SourceReport `json:"sources,omitempty"`
	// Unheard says of other sources why nobody listens to them.
	Unheard map[string]string `json:"sources_unheard,omitempty"`
	// Neighbours are the other network namespaces, where they are watched.
	Neighbours *watcher.NamespacesReport `json:"neighbours,omitempty"`
	// Changed are the kernel values that ctwarden replaced.
	Changed []remediate.Row `json:"changed"`
	// Ledger says why Changed is not known; "" where it is.
	Ledger string       `json:"ledger,omitempty"`
	Audit  *AuditReport `json:"audit,omitempty"`
}

// A SourceReport is how a source of the kernel log fares.
type SourceReport struct {
	Alive    bool      `json:"alive"`
	At       time.Time `json:"last_record,omitzero"`
	Heard    uint64    `json:"heard"`
	Lost     uint64    `json:"lost"`
	Reopened uint64    `json:"reopened"`
	Missed   uint64    `json:"missed"`
	Error    string    `json:"error,omitempty"`
}

// An AuditReport is how the audit log fares.
type AuditReport struct {
	audit.Head
	audit.Health
	Error string `json:"error,omitempty"`
}

// status is what the control socket answers.
func (s *Server) status() any { return s.Report() }

// Report returns how the daemon fares.
func (s *Server) Report() Report {
	health := s.log.Health()
	r := Report{
		Running: true, Version: s.version, Since: s.since, Status: s.agent.Status(),
		Changed: s.agent.kernel.Ledger().Entries,
		Audit:   &AuditReport{Head: s.log.Head(), Health: health},
		Sources: map[string]SourceReport{}, Unheard: s.unheard,
	}
	for source, status := range s.agent.kernelLog.Sources() {
		r.Sources[string(source)] = reportSource(status)
	}
	if health.Err != nil {
		r.Audit.Error = health.Err.Error()
	}
	if s.agent.namespaces != nil {
		r.Neighbours = s.agent.namespaces.Report()
	}
	return r
}

func reportSource(s watcher.Status) SourceReport {
	r := SourceReport{
		Alive: s.Alive, At: s.At, Heard: s.Heard, Lost: s.Lost, Reopened: s.Reopened, Missed: s.Missed,
	}
	if s.Err != nil {
		r.Error = s.Err.Error()
	}
	return r
}
