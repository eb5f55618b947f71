package audit

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/ctwarden/ctwarden/internal/record"
)

var (
	// ErrNoJournal reports that this host has no journald, or that its socket
	// takes no connection.
	ErrNoJournal = errors.New("no journal")
	// ErrJournalStalled reports that journald did not take a record in time.
	ErrJournalStalled = errors.New("journal does not take records")
)

// sendTimeout bounds how long a record waits for journald. Its socket's queue
// is full when it is stopped or starved, and a send would block for ever; a
// healthy one takes microseconds.
const sendTimeout = 500 * time.Millisecond

// A Journal sends copies of records to journald. Its Mirror method is made
// for Options.Mirror. The zero Journal is ready for use.
type Journal struct {
	// send is for tests; nil is journald.
	send    func(string, journal.Priority, map[string]string) error
	timeout time.Duration

	mu      sync.Mutex
	pending chan struct{} // closed when a send that was left behind ends
}

// Mirror sends a copy of r. Samples are not sent (ErrNotMirrored): once a
// second for the length of an incident, they would push other programs'
// messages out of the journal.
func (j *Journal) Mirror(r Record) error {
	if r.Kind == record.KindSample {
		return ErrNotMirrored
	}
	p, err := r.Payload()
	if err != nil {
		return fmt.Errorf("send record %d to the journal: %w", r.Seq, err)
	}
	h := p.Headline()
	message := cmp.Or(r.sentence(h.Sentence), string(r.Kind))
	if err := j.deliver(message, journal.Priority(h.Priority), fields(r, &h)); err != nil {
		return fmt.Errorf("send record %d to the journal: %w", r.Seq, err)
	}
	return nil
}

// deliver sends with a bound on the time. The library has no deadline, so a
// send that blocks is left behind, at most one: until it ends, the journal
// counts as stalled.
func (j *Journal) deliver(message string, p journal.Priority, fields map[string]string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending != nil {
		select {
		case <-j.pending:
			j.pending = nil
		default:
			return ErrJournalStalled
		}
	}
	send, timeout := j.send, j.timeout
	if send == nil {
		send = sendJournal
	}
	if timeout == 0 {
		timeout = sendTimeout
	}
	var err error // written before done is closed, read after
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = send(message, p, fields)
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return err
	case <-timer.C:
		j.pending = done
		return ErrJournalStalled
	}
}

func sendJournal(message string, p journal.Priority, fields map[string]string) error {
	if !journal.Enabled() {
		return ErrNoJournal
	}
	return journal.Send(message, p, fields)
}

// fields returns the structured fields of r's copy. The record itself goes
// along, so that the copy alone can be verified.
func fields(r Record, h *record.Headline) map[string]string {
	fields := map[string]string{
		"MESSAGE_ID":        r.Kind.MessageID(),
		"SYSLOG_IDENTIFIER": "ctwarden",
		"CTWARDEN_KIND":     string(r.Kind),
		"CTWARDEN_SEQ":      strconv.FormatUint(r.Seq, 10),
		"CTWARDEN_TIME":     r.Time.Format(timeLayout),
		"CTWARDEN_PREV":     r.Prev.String(),
		"CTWARDEN_HASH":     r.Hash.String(),
		"CTWARDEN_RECORD":   string(r.Line()),
	}
	for name, value := range map[string]string{
		"CTWARDEN_LEVEL":    h.Level,
		"CTWARDEN_INCIDENT": h.Incident,
		"CTWARDEN_VERDICT":  h.Verdict,
		"CTWARDEN_HELD":     h.Held,
		"CTWARDEN_ACTION":   h.Action,
		"CTWARDEN_NETNS":    h.NetNS,
	} {
		if value != "" {
			fields[name] = Sanitise(value)
		}
	}
	if h.Would {
		fields["CTWARDEN_WOULD"] = "1"
	}
	return fields
}
