package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMetricsInAFileAndOnTheSocket(t *testing.T) {
	c := newChild(t)
	file := filepath.Join(c.dir, "ctwarden.prom")
	c.configure("metrics: {textfile: " + file + "}\n")
	c.start(ownNetwork)
	text, code := c.run("metrics")
	for _, line := range []string{
		"ctwarden_mode{mode=\"enforce\"} 1\n", "ctwarden_level{netns=\"0\",level=\"calm\"} 1\n",
		"ctwarden_audit_records_total{kind=\"start\"} 1\n", "ctwarden_source_alive{source=\"kmsg\"} ",
		"ctwarden_audit_healthy 1\n",
	} {
		if code != 0 || !strings.Contains(text, line) {
			t.Errorf("exit %d, no %q in\n%s", code, line, text)
		}
	}
	var written []byte
	for end := time.Now().Add(10 * time.Second); len(written) == 0; time.Sleep(10 * time.Millisecond) {
		var err error
		if written, err = os.ReadFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("no file was written")
		}
	}
	// The first file may be from before the first turn: it has no table yet.
	if !strings.Contains(string(written), "ctwarden_build_info{") || !strings.HasSuffix(string(written), "\n") {
		t.Errorf("the file holds\n%s", written)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the collector can't read the file: %v, %v", info, err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-c.done; err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("old figures are left: %v, %v", left, err)
	}
	if text, code := c.run("metrics"); code != 1 || !strings.Contains(text, "no daemon answers") {
		t.Errorf("without a daemon: exit %d\n%s", code, text)
	}
}

func TestATextfileIsReplacedWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.prom")
	say := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error { _, _ = io.WriteString(w, text); return err }
	}
	if err := writeTextfile(path, say("one\n", nil)); err != nil {
		t.Fatal(err)
	}
	if err := writeTextfile(path, say("tw", io.ErrShortWrite)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "one\n" {
		t.Errorf("%q, %v", text, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
