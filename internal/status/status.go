package status

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// A Status is the state of a daemon, or of a host without one. Its JSON is a
// contract. The zero Status is that of a host without a daemon whose table was
// not read.
type Status struct {
	// Running is set if a daemon made this; without one, only the table and the
	// ledger are known.
	Running bool      `json:"running"`
	Version string    `json:"version"`
	Since   time.Time `json:"since,omitzero"`
	loop.Status
	Sources map[string]Source `json:"sources,omitempty"`
	// Unheard has the reason for each source that is not read.
	Unheard map[string]string `json:"sources_unheard,omitempty"`
	// Namespaces are the other network namespaces, where they are watched.
	Namespaces *watcher.NamespacesReport `json:"neighbours,omitempty"`
	// Changed are the kernel values that ctwarden replaced.
	Changed []remediate.Row `json:"changed"`
	// Ledger is the reason why Changed is not known; "" if it is.
	Ledger string `json:"ledger,omitempty"`
	Audit  *Audit `json:"audit,omitempty"`
}

// A Source is the state of one source of the kernel log.
type Source struct {
	watcher.Status
	// Error is the text of Err, which JSON does not carry.
	Error string `json:"error,omitempty"`
}

// An Audit is the state of the audit log.
type Audit struct {
	audit.Checkpoint
	audit.Health
	// Error is the text of Err, which JSON does not carry.
	Error string `json:"error,omitempty"`
}

// NewSource returns the state of a source with the text of its error.
func NewSource(s watcher.Status) Source { return Source{s, text(s.Err)} }

// NewAudit returns the state of an audit log with the text of its error.
func NewAudit(head audit.Checkpoint, health audit.Health) *Audit {
	return &Audit{head, health, text(health.Err)}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
