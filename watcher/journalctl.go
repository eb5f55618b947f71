package watcher

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// journalctl is the program that reads the journal where libsystemd is not
// linked in.
const journalctl = "journalctl"

// A journalctlProcess is a journalctl that follows the journal. It implements Journal.
type journalctlProcess struct {
	cmd     *exec.Cmd
	kill    context.CancelFunc
	out     io.ReadCloser
	stderr  *tail
	lines   chan []byte
	readErr error // valid when lines is closed
}

// startJournalctl starts journalctl behind a cursor.
func startJournalctl(cursor string) (Journal, error) {
	args := []string{"--quiet", "--follow", "--output=json", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP"}
	if cursor == "" {
		args = append(args, "--lines=0")
	} else {
		args = append(args, "--no-tail", "--after-cursor="+cursor)
	}
	args = append(args, kernelMatches()...)
	args = append(append(args, "+"), lossMatches()...)
	ctx, kill := context.WithCancel(context.Background())
	p := &journalctlProcess{cmd: exec.CommandContext(ctx, journalctl, args...), kill: kill, stderr: new(tail), lines: make(chan []byte)}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = time.Second
	var err error
	if p.out, err = p.cmd.StdoutPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		kill()
		return nil, err
	}
	go p.read(ctx)
	return p, nil
}

// maxLine bounds a line of journalctl: the kernel's own are below 8 KiB.
const maxLine = 64 << 10

func (p *journalctlProcess) read(ctx context.Context) {
	defer close(p.lines)
	lines := bufio.NewScanner(p.out)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		select {
		case p.lines <- bytes.Clone(lines.Bytes()):
		case <-ctx.Done():
			return
		}
	}
	p.readErr = lines.Err()
}

// Next implements Journal.
func (p *journalctlProcess) Next(ctx context.Context) (Record, bool, error) {
	idle := time.NewTimer(journalIdle)
	defer idle.Stop()
	select {
	case <-ctx.Done():
		return Record{}, false, nil
	case <-idle.C:
		return Record{}, false, nil
	case line, ok := <-p.lines:
		if !ok {
			return Record{}, false, p.exitError()
		}
		r, err := parseJournalJSON(line)
		return r, err == nil, err
	}
}

// exitError returns why journalctl has ended: the last line of its stderr, or
// its exit status.
func (p *journalctlProcess) exitError() error {
	p.kill()
	err := errors.Join(p.readErr, p.cmd.Wait())
	if text := p.stderr.String(); text != "" {
		return fmt.Errorf("journalctl: %s", text)
	}
	if err == nil {
		return errors.New("journalctl has ended")
	}
	return fmt.Errorf("journalctl: %w", err)
}

// Close implements Journal.
func (p *journalctlProcess) Close() error {
	p.kill()
	for range p.lines { // until the reader has ended
	}
	_ = p.cmd.Wait() // it was killed, or waited for already
	return nil
}

// parseJournalJSON reads a line of journalctl's JSON, in which a field that is
// not UTF-8 is an array of numbers.
func parseJournalJSON(line []byte) (Record, error) {
	var fields struct {
		Cursor  string          `json:"__CURSOR"`
		Message json.RawMessage `json:"MESSAGE"`
		Source  string          `json:"_SOURCE_MONOTONIC_TIMESTAMP"`
	}
	if err := json.Unmarshal(line, &fields); err != nil {
		return Record{}, fmt.Errorf("parse journal entry: %w", err)
	}
	var r Record
	if !r.parseCursor(fields.Cursor) {
		return Record{}, fmt.Errorf("parse journal entry: no cursor: %.80q", fields.Cursor)
	}
	r.parsePrinted(fields.Source)
	if err := json.Unmarshal(fields.Message, &r.Text); err != nil {
		r.Text = "" // no line about a full table has such bytes
	}
	return r, nil
}

// A tail keeps the last bytes of a program's stderr. It may be used by several
// goroutines at once.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 512

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String returns the last line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return lines[len(lines)-1]
}
