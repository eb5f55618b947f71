package record

import (
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// A Start is the payload of the record that the daemon starts.
type Start struct {
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	Boot    string `json:"boot_id"`
	Mode    string `json:"mode"`
	// Ledger has the state of the values that an earlier run changed.
	Ledger []Note `json:"ledger,omitempty"`
	Text   string `json:"text"`
}

// Kind returns KindStart.
func (s *Start) Kind() Kind { return KindStart }

// Headline returns which version starts.
func (s *Start) Headline() Headline { return Headline{Priority: Info, Sentence: s.Text} }

// A Stop is the payload of the record that the daemon ends.
type Stop struct {
	Text string `json:"text"`
}

// Kind returns KindStop.
func (s *Stop) Kind() Kind { return KindStop }

// Headline returns what stays in the kernel.
func (s *Stop) Headline() Headline { return Headline{Priority: Info, Sentence: s.Text} }

// A Config is the payload of the record of the limits in force.
type Config struct {
	Digest  string        `json:"digest"`
	Limits  policy.Limits `json:"limits"`
	Changes []Change      `json:"changes,omitempty"`
	// Restart are the keys whose value, other than at the start, takes effect
	// only after a restart.
	Restart []string `json:"restart,omitempty"`
	Error   string   `json:"error,omitempty"`
	// By made the request through the socket; nil for SIGHUP.
	By   *Requester `json:"by,omitempty"`
	Text string     `json:"text"`
}

// Kind returns KindConfig.
func (c *Config) Kind() Kind { return KindConfig }

// Headline returns the result of loading the configuration.
func (c *Config) Headline() Headline { return Headline{Priority: Info, Sentence: c.Text} }

// A Change is a key whose value differs between two configurations. The values
// are written as in the file.
type Change struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

// A Requester names the user of a request through the socket, and the reason.
type Requester struct {
	Reason string        `json:"reason,omitempty"`
	For    time.Duration `json:"for_ns,omitempty"`
	UID    uint32        `json:"uid"`
	PID    int32         `json:"pid,omitempty"`
}

// A Pause is the payload of the record that decisions are held on request.
type Pause struct {
	Requester
	Text string `json:"text"`
}

// Kind returns KindPause.
func (p *Pause) Kind() Kind { return KindPause }

// Headline returns who paused, and why.
func (p *Pause) Headline() Headline { return Headline{Priority: Warning, Sentence: p.Text} }

// A Resume is the payload of the record that a pause ends on request.
type Resume struct {
	Requester
	Text string `json:"text"`
}

// Kind returns KindResume.
func (r *Resume) Kind() Kind { return KindResume }

// Headline returns who resumed.
func (r *Resume) Headline() Headline { return Headline{Priority: Notice, Sentence: r.Text} }

// A Revert is the payload of the record before values are restored on request.
// Their outcomes follow, one record each.
type Revert struct {
	Requester
	Force bool   `json:"force,omitempty"`
	Text  string `json:"text"`
}

// Kind returns KindRevert.
func (r *Revert) Kind() Kind { return KindRevert }

// Headline returns the requester.
func (r *Revert) Headline() Headline { return Headline{Priority: Notice, Sentence: r.Text} }

// A Missed is the payload of the record of "table full" lines of one boot that
// the kernel printed while no daemon read them.
type Missed struct {
	// Source is kmsg or journald.
	Source string `json:"source"`
	Count  uint64 `json:"count"`
	// First and Last are when the kernel printed the first and the last, or, for
	// lines from the journal, when journald received them.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Boot is the id of the boot, without dashes.
	Boot string `json:"boot_id,omitempty"`
	// Lost is how many records, of whatever kind, were overwritten before
	// these: there may have been more lines.
	Lost uint64 `json:"lost,omitempty"`
	Text string `json:"text"`
}

// Kind returns KindMissed.
func (m *Missed) Kind() Kind { return KindMissed }

// Headline returns how many lines were missed.
func (m *Missed) Headline() Headline { return Headline{Priority: Warning, Sentence: m.Text} }
