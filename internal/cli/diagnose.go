package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/diagnosis"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/watcher"
)

func newDiagnose() *cobra.Command {
	var asJSON, exact bool
	var namespace, from string
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "show what the table contains, why it fills, and what would help",
		Long: `Diagnose reads an unbiased sample of the table for a quarter of a second, or the
whole table with --exact. It prints the kinds of entries, the cause if the table
filled with them, what each action of ctwarden would free and cost, the addresses
with the most entries, the permanent fix, and the other network namespaces with the
most entries. It changes nothing. It needs no daemon, but CAP_NET_ADMIN.

With --from it reads the text of /proc/net/nf_conntrack or of conntrack -L, to
diagnose the table of another machine.`,
		Example: `  ctwarden diagnose
  ctwarden diagnose --netns web        a name of ip netns, a container, a pod, a unit, a path, a pid or an inode number
  ssh gw cat /proc/net/nf_conntrack | ctwarden diagnose --from -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from != "" && (namespace != "" || exact) {
				return usageError{errors.New("--from reads a text: it can't be combined with --netns or --exact"), cmd.CommandPath()}
			}
			cfg, err := config.Load(configSource(cmd))
			if err != nil {
				return err
			}
			var look *diagnosis.Census
			if from != "" {
				look, err = readText(cfg, cmd.InOrStdin(), from)
			} else {
				look, err = readKernel(cmd.Context(), cfg, namespace, exact)
			}
			if err != nil {
				return err
			}
			found := look.Diagnose()
			if asJSON {
				return report.WriteJSON(cmd.OutOrStdout(), found)
			}
			return found.Print(cmd.OutOrStdout(), cmp.Or(ui.TerminalOf(cmd.OutOrStdout(), os.Getenv).Columns, defaultWidth))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print as JSON")
	flags.BoolVar(&exact, "exact", false, "read the whole table, however long it takes")
	flags.StringVar(&namespace, "netns", "", "diagnose another network namespace: `name`, path, pid or inode number")
	flags.StringVar(&from, "from", "", "read the text of a table from `file`, or from standard input (-)")
	return cmd
}

// defaultWidth is the width of output that is not a terminal, in columns.
const defaultWidth = 80

// readKernel reads the table of a namespace; "" is the own one. It returns a
// census without entries if only the entries can't be read.
func readKernel(ctx context.Context, cfg *config.Config, name string, exact bool) (look *diagnosis.Census, err error) {
	ns, foreign, err := openNamespace(name)
	if err != nil {
		return nil, err
	}
	from := watcher.NewSampler(ns, foreign)
	defer func() { err = errors.Join(err, from.Close(), ns.Close()) }()
	o, err := from.Observe()
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	if o.Absent {
		return nil, hint(errors.New("there is no table: nf_conntrack is not loaded"),
			"modprobe nf_conntrack   # a firewall rule that uses connection tracking loads it, too")
	}
	look = diagnosis.Begin(&cfg.Limits, cfg.Protect, o)
	if foreign {
		look.Name = name
	} else {
		// The diagnosis is complete without them.
		look.Elsewhere, look.Blind = readElsewhere(ns, o.Table.Max)
	}
	return look, readEntries(ctx, look, ns, exact)
}

// readEntries reads a sample of the entries, or all.
func readEntries(ctx context.Context, look *diagnosis.Census, ns *netns.NS, exact bool) (err error) {
	conn, err := ctnetlink.Dial(ns)
	if err != nil {
		return explainDial(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	query := ctnetlink.Query{Box: agent.CensusTime}
	if exact {
		query.Box = 0
	}
	start := time.Now()
	dumped, err := conn.Dump(ctx, query, func(e *conntrack.Entry, _ *ctnetlink.Key) bool {
		look.Add(e)
		return true
	})
	look.Reading = diagnosis.Reading{Took: time.Since(start), Bytes: dumped.Bytes, Unread: dumped.Unread, Resized: dumped.Resized}
	look.Census.Summary.Sampled = dumped.Stop != ctnetlink.Complete
	if err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	return nil
}

// namespacesShown is how many of the fullest namespaces are printed.
const namespacesShown = 5

// readElsewhere ranks the other namespaces by their entries.
func readElsewhere(own *netns.NS, limit uint64) (*diagnosis.Elsewhere, error) {
	known := watcher.Known{Own: own.Inode()}
	defer func() { _ = known.Close() }() // it only read
	if err := known.Search(); err != nil {
		return nil, err
	}
	sweep := known.Sweep(1)
	return diagnosis.Rank(&sweep, limit, namespacesShown), nil
}

// openNamespace opens the namespace of a name; "" is the own one.
func openNamespace(name string) (ns *netns.NS, foreign bool, err error) {
	own, err := netns.Current()
	if err != nil || name == "" {
		return own, false, err
	}
	if ns, err = watcher.Find(name); err != nil {
		err = errors.Join(err, own.Close())
		_, ambiguous := errors.AsType[*watcher.AmbiguousError](err)
		switch {
		case ambiguous:
			err = hint(err, "ctwarden diagnose --netns NUMBER")
		case errors.Is(err, fs.ErrNotExist):
			err = hint(err, "ip netns list; lsns -t net")
		case errors.Is(err, fs.ErrPermission):
			err = hint(err, "sudo ctwarden diagnose --netns NAME   # needs CAP_SYS_ADMIN and CAP_SYS_PTRACE")
		}
		return nil, false, err
	}
	foreign = ns.Inode() != own.Inode()
	return ns, foreign, own.Close()
}

func explainDial(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hint(err, "sudo ctwarden diagnose   # listing entries needs CAP_NET_ADMIN in the network namespace",
			"sudo cat /proc/net/nf_conntrack | ctwarden diagnose --from -")
	case errors.Is(err, errors.ErrUnsupported):
		return hint(err, "modprobe nf_conntrack_netlink", "cat /proc/net/nf_conntrack | ctwarden diagnose --from -")
	}
	return err
}

// readText reads the text of a table from a file, or from standard input if
// that is "-".
func readText(cfg *config.Config, stdin io.Reader, name string) (*diagnosis.Census, error) {
	in := stdin
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	start := time.Now()
	look, err := diagnosis.ReadText(in, &cfg.Limits, cfg.Protect)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	look.Reading.Took = time.Since(start)
	if look.Census.Summary.Seen == 0 {
		return nil, hint(fmt.Errorf("read %s: no conntrack entry found (%d lines not recognised)", name, look.Reading.Unread),
			"cat /proc/net/nf_conntrack >table.txt   # or conntrack -L, on the machine to diagnose")
	}
	return look, nil
}
