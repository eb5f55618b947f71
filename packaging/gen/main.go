package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen: error:", err)
		os.Exit(1)
	}
}

func run() error {
	var b build
	flag.StringVar(&b.program, "program", "", "the built ctwarden, which must run on this machine")
	flag.StringVar(&b.version, "version", "", "version of the package, as 1.2.3")
	flag.StringVar(&b.changelog, "changelog", "CHANGELOG.md", "the changelog, which may be missing")
	notes := flag.String("notes", "", "print the section of this version of the changelog, and nothing else")
	date := flag.Int64("date", 0, "seconds since 1970 of the commit")
	flag.StringVar(&b.out, "out", "", "directory to write")
	flag.Parse()
	b.date = time.Unix(*date, 0).UTC()
	if *notes != "" {
		return b.printNotes(os.Stdout, *notes)
	}
	return b.writeAll()
}

// A build is one run of gen.
type build struct {
	program, version, changelog, out string
	date                             time.Time
}

func (b build) writeAll() error {
	if err := b.writeManual(); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script, err := b.ask("completion", shell)
		if err != nil {
			return err
		}
		if err := b.write("completion/ctwarden."+shell, script); err != nil {
			return err
		}
	}
	if err := b.writeChangelog(); err != nil {
		return fmt.Errorf("write changelog: %w", err)
	}
	return nil
}

// ask runs the program and returns what it prints. It gets no environment: CTWARDEN_* would change its answers.
func (b build) ask(args ...string) ([]byte, error) {
	cmd := exec.Command(b.program, args...)
	cmd.Env = []string{"LC_ALL=C", "HOME=/nonexistent"}
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s %q: %w", b.program, args, err)
	}
	return text, nil
}

func (b build) write(name string, text []byte) error {
	name = filepath.Join(b.out, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

// writeGzip compresses as packages want their pages: without the name and the time of the file.
func (b build) writeGzip(name string, text []byte) error {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return b.write(name+".gz", packed.Bytes())
}
