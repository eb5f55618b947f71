package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/advice"
	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/remediate"
)

func newRecommend() *cobra.Command {
	var path, id, dir string
	var untracked []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "recommend",
		Short: "print the permanent fix as files",
		Long: `Recommend sizes a permanent fix from an incident, or without one from the present
table, and prints it as files for /etc: the limit, the hash and the timeouts
(sysctl.d), the hash from the start (modprobe.d), files that apply them at boot
(modules-load.d, udev), and rules that keep traffic out of the table (nftables,
iptables) if loopback or the ports of --notrack have a large share.

Recommend installs nothing. --write writes the files below a directory, and never
overwrites a file.`,
		Example: `  ctwarden recommend --incident last
  ctwarden recommend --incident last --notrack 6379/tcp --write ./fix`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ports, err := parsePorts(untracked)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if path != "" && id == "" {
				id = "last"
			}
			facts, err := adviceFacts(cmd, path, id)
			if err != nil {
				return err
			}
			facts.NoTrackPorts = ports
			fix := advice.New(facts)
			switch {
			case dir != "":
				return writeAdvice(cmd.OutOrStdout(), dir, &fix)
			case asJSON:
				return report.WriteJSON(cmd.OutOrStdout(), fix)
			}
			return printAdvice(cmd.OutOrStdout(), &fix)
		},
	}
	logFlag(cmd, &path)
	f := cmd.Flags()
	f.StringVar(&id, "incident", "", "size it from this incident (`ID` or last) instead of the present table")
	f.StringVar(&dir, "write", "", "write the files below this `directory`")
	f.StringSliceVar(&untracked, "notrack", nil, "do not track these `ports`, as in 80/tcp,53/udp")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// parsePorts reads ports as in 80/tcp.
func parsePorts(words []string) ([]census.Port, error) {
	var ports []census.Port
	for _, word := range words {
		digits, proto, _ := strings.Cut(word, "/")
		n, err := strconv.ParseUint(digits, 10, 16)
		number := conntrack.ProtoTCP
		if proto == "udp" {
			number = conntrack.ProtoUDP
		}
		if err != nil || n == 0 || proto != conntrack.ProtoName(number) {
			return nil, fmt.Errorf("--notrack %q: expected a port such as 80/tcp or 53/udp", word)
		}
		ports = append(ports, census.Port{Proto: number, Number: uint16(n)})
	}
	return ports, nil
}

// adviceFacts returns the facts that size the fix.
func adviceFacts(cmd *cobra.Command, path, id string) (advice.Facts, error) {
	if id != "" {
		path, err := logPath(cmd, path)
		if err != nil {
			return advice.Facts{}, err
		}
		found, err := readIncident(cmd.Context(), path, id)
		if err != nil {
			return advice.Facts{}, err
		}
		return found.Facts(), nil
	}
	cfg, err := config.Load(configSource(cmd))
	if err != nil {
		return advice.Facts{}, err
	}
	return tableFacts(cmd.Context(), cfg)
}

// tableFacts reads the table of this host. Values that ctwarden changed are replaced
// by the original ones of the ledger.
func tableFacts(ctx context.Context, cfg *config.Config) (facts advice.Facts, err error) {
	look, err := readKernel(ctx, cfg, "", false)
	if look == nil || look.Observation.Table.Buckets == 0 {
		return facts, err
	}
	facts = look.Facts() // without entries, the size alone is advised
	ledger, err := remediate.ReadLedger(remediate.Options{Dir: cfg.State.Dir})
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return facts, err
	}
	for _, e := range ledger.Entries {
		switch e.Sysctl {
		case conntrack.SysctlMax:
			facts.Max = e.Original
		case conntrack.SysctlBuckets:
			facts.Buckets = e.Original
		}
	}
	return facts, nil
}

func printAdvice(w io.Writer, a *advice.Fix) error {
	var b strings.Builder
	for _, why := range a.Why {
		fmt.Fprintf(&b, "# %s\n", audit.Sanitise(why))
	}
	for _, f := range a.Files {
		fmt.Fprintf(&b, "\n# ---- /etc/%s\n# %s\n%s", f.Path, f.About, f.Text)
	}
	b.WriteString("\n# Before you install them:\n")
	for _, warning := range a.Warnings {
		fmt.Fprintf(&b, "# - %s\n", audit.Sanitise(warning))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeAdvice writes the files below dir. If one exists already, it writes none.
func writeAdvice(w io.Writer, dir string, a *advice.Fix) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range a.Files {
		if _, err := root.Lstat(f.Path); err == nil {
			return hint(fmt.Errorf("write %s: it exists already; nothing was written", filepath.Join(dir, f.Path)),
				"ctwarden recommend --write "+ui.Quote(dir+".new")+"   # with the same flags, then: diff -r "+ui.Quote(dir, dir+".new"))
		}
	}
	for _, f := range a.Files {
		if err := writeNew(root, f); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n    %s\n", filepath.Join(dir, f.Path), f.About); err != nil {
			return err
		}
	}
	for _, warning := range a.Warnings {
		if _, err := fmt.Fprintf(w, "caution: %s\n", audit.Sanitise(warning)); err != nil {
			return err
		}
	}
	return nil
}

func openDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // files of /etc are for all to read
		return nil, fmt.Errorf("make directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return root, nil
}

// writeNew writes one new file; a symbolic link can't lead out of root.
func writeNew(root *os.Root, f advice.File) error {
	if err := root.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	file, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = io.WriteString(file, f.Text)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
