package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/cli"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen: error:", err)
		os.Exit(1)
	}
}

func run() error {
	var b build
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
	version, changelog, out string
	date                    time.Time
}

func (b build) writeAll() error {
	root := cli.New(b.version)
	if err := b.writeManual(root); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	if err := b.writeCompletions(root); err != nil {
		return fmt.Errorf("write completions: %w", err)
	}
	if err := b.writeChangelog(); err != nil {
		return fmt.Errorf("write changelog: %w", err)
	}
	return nil
}

func (b build) writeCompletions(root *cobra.Command) error {
	var bash, zsh, fish bytes.Buffer
	if err := root.GenBashCompletionV2(&bash, true); err != nil {
		return err
	}
	if err := root.GenZshCompletion(&zsh); err != nil {
		return err
	}
	if err := root.GenFishCompletion(&fish, true); err != nil {
		return err
	}
	for shell, script := range map[string][]byte{"bash": bash.Bytes(), "zsh": zsh.Bytes(), "fish": fish.Bytes()} {
		if err := b.write("completion/ctwarden."+shell, script); err != nil {
			return err
		}
	}
	return nil
}

func (b build) write(name string, text []byte) error {
	name = filepath.Join(b.out, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
