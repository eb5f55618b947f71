package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// A verdict is how a check of doctor ended.
type verdict string

const (
	fine  verdict = "fine"
	note  verdict = "note"  // not wrong, but good to know
	wrong verdict = "wrong" // ctwarden, or the host, can't do its job as it should
)

// A finding is what one check found. Its JSON is a contract.
type finding struct {
	Area    string  `json:"area"`
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	// Text says what it is and, unless it is fine, what that means; Mend is
	// the command, or the line of a file, that mends it.
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
}

func newDoctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "what this kernel, this host and these privileges permit, and what is wrong",
		Long: `Doctor checks what ctwarden depends on: the module, the table, what the kernel's
netlink can really do (by trying it in a namespace of its own), privileges, the
kernel log and the journal, storage, the clock, other programs and files that
set the same values, and the other namespaces. It changes nothing.

It checks with the rights of whoever runs it; what the running daemon may do, it
asks the daemon. The exit code is 3 if something is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(source(cmd))
			if err != nil {
				return err
			}
			found, err := examine(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return tellFindings(cmd.OutOrStdout(), found, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// A patient is the host as doctor sees it.
type patient struct {
	cfg *config.Config
	// root is the directory below which files are read; "" is "/".
	root  string
	own   *netns.NS
	table watcher.Sample
	found []finding
}

// examine makes all checks.
func examine(ctx context.Context, cfg *config.Config) (_ []finding, err error) {
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	p := &patient{cfg: cfg, own: own}
	if p.checkTable() {
		p.checkSize()
		p.checkAccess()
		p.checkFiles()
	}
	p.checkNetlink(ctx)
	p.checkSources()
	p.checkSandbox()
	p.checkStorage()
	p.checkClock()
	p.checkRivals()
	p.checkNamespaces()
	p.checkDaemon(ctx)
	return p.found, nil
}

func (p *patient) add(v verdict, area, check, mend, format string, args ...any) {
	p.found = append(p.found, finding{area, check, v, fmt.Sprintf(format, args...), mend})
}

// path is a path below the root.
func (p *patient) path(path string) string { return filepath.Join(cmp.Or(p.root, "/"), path) }

// tellFindings prints, and fails if something is wrong.
func tellFindings(out io.Writer, found []finding, asJSON bool) error {
	bad := 0
	for i := range found {
		if found[i].Verdict == wrong {
			bad++
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		answer := struct {
			Wrong    int       `json:"wrong"`
			Findings []finding `json:"findings"`
		}{bad, found}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
	} else if err := printFindings(out, found, bad); err != nil {
		return err
	}
	if bad > 0 {
		return errFound
	}
	return nil
}

func printFindings(out io.Writer, found []finding, bad int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	area := ""
	for i := range found {
		f := &found[i]
		shown := ""
		if f.Area != area {
			area, shown = f.Area, f.Area
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", shown, f.Check, f.Verdict, audit.Sanitise(f.Text))
		if f.Mend != "" && f.Verdict != fine {
			fmt.Fprintf(w, "\t\t\t  mend: %s\n", audit.Sanitise(f.Mend))
		}
	}
	if bad == 0 {
		fmt.Fprintf(w, "\nnothing is wrong\n")
	} else {
		fmt.Fprintf(w, "\n%d of %d checks found something wrong\n", bad, len(found))
	}
	return w.Flush()
}
