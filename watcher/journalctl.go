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

// A child is a journalctl that follows the journal. It implements Journal.
type child struct {
	cmd     *exec.Cmd
	kill    context.CancelFunc
	out     io.ReadCloser
	said    *tail
	lines   chan []byte
	readErr error // valid when lines is closed
}

// openChild starts journalctl behind a cursor.
func openChild(cursor string) (Journal, error) {
	args := []string{"--quiet", "--follow", "--output=json", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP"}
	if cursor == "" {
		args = append(args, "--lines=0")
	} else {
		args = append(args, "--no-tail", "--after-cursor="+cursor)
	}
	args = append(args, kernelMatches()...)
	args = append(append(args, "+"), lossMatches()...)
	ctx, kill := context.WithCancel(context.Background())
	c := &child{cmd: exec.CommandContext(ctx, journalctl, args...), kill: kill, said: new(tail), lines: make(chan []byte)}
	c.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	c.cmd.Stderr = c.said
	c.cmd.WaitDelay = time.Second
	var err error
	if c.out, err = c.cmd.StdoutPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		kill()
		return nil, err
	}
	go c.read(ctx)
	return c, nil
}

// maxLine bounds a line of journalctl: the kernel's own are below 8 KiB.
const maxLine = 64 << 10

func (c *child) read(ctx context.Context) {
	defer close(c.lines)
	lines := bufio.NewScanner(c.out)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		select {
		case c.lines <- bytes.Clone(lines.Bytes()):
		case <-ctx.Done():
			return
		}
	}
	c.readErr = lines.Err()
}

// Next implements Journal.
func (c *child) Next(ctx context.Context) (Record, bool, error) {
	idle := time.NewTimer(journalIdle)
	defer idle.Stop()
	select {
	case <-ctx.Done():
		return Record{}, false, nil
	case <-idle.C:
		return Record{}, false, nil
	case line, ok := <-c.lines:
		if !ok {
			return Record{}, false, c.ended()
		}
		r, err := parseExported(line)
		return r, err == nil, err
	}
}

// ended says why journalctl has ended.
func (c *child) ended() error {
	c.kill()
	err := errors.Join(c.readErr, c.cmd.Wait())
	if text := c.said.String(); text != "" {
		return fmt.Errorf("journalctl: %s", text)
	}
	if err == nil {
		return errors.New("journalctl has ended")
	}
	return fmt.Errorf("journalctl: %w", err)
}

// Close implements Journal.
func (c *child) Close() error {
	c.kill()
	for range c.lines { // until the reader has ended
	}
	_ = c.cmd.Wait() // it was killed, or waited for already
	return nil
}

// parseExported reads a line of journalctl's JSON. A field with bytes that are
// no text is an array of numbers.
func parseExported(line []byte) (Record, error) {
	var fields struct {
		Cursor  string          `json:"__CURSOR"`
		Message json.RawMessage `json:"MESSAGE"`
		Source  string          `json:"_SOURCE_MONOTONIC_TIMESTAMP"`
	}
	if err := json.Unmarshal(line, &fields); err != nil {
		return Record{}, fmt.Errorf("parse journal entry: %w", err)
	}
	var r Record
	if !r.place(fields.Cursor) {
		return Record{}, fmt.Errorf("parse journal entry: no cursor: %.80q", fields.Cursor)
	}
	r.printed(fields.Source)
	if err := json.Unmarshal(fields.Message, &r.Text); err != nil {
		r.Text = "" // no line about a full table has such bytes
	}
	return r, nil
}

// A tail keeps the end of what a program complains about. It may be used by
// several goroutines at once.
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
