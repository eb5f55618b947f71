package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/nfct"
	"github.com/ctwarden/ctwarden/policy"
)

// A diagnosis is what diagnose prints. Its JSON is a contract.
type diagnosis struct {
	// From says where the entries were read: "kernel" or "text".
	From string    `json:"from"`
	At   time.Time `json:"at,omitzero"`
	// Table is the reading of the table; of a text only Entries is known.
	Table nfct.Table `json:"table"`
	Level string     `json:"level,omitempty"`
	// Timeouts are those that idle times were computed with.
	Timeouts nfct.Timeouts `json:"timeouts"`
	Look     seen          `json:"look"`
	// Census and what follows count entries that were looked at. With
	// Census.Sampled they stand for a table of Table.Entries.
	Census census.Summary `json:"census"`
	Make   census.Make    `json:"make"`
	Top    census.Talkers `json:"top"`
	// Cause is what would be wrong if the table filled as it is made now.
	Cause    policy.Cause `json:"cause"`
	Sentence string       `json:"sentence"`
	Evidence []share      `json:"evidence"`
	// Acts are what ctwarden could do. Their entries are numbers for the
	// whole table, estimated from a sample.
	Acts   []foreseen `json:"acts"`
	Advice []advice   `json:"advice"`
	Notes  []string   `json:"notes"`
}

// seen says how the look was taken.
type seen struct {
	Took time.Duration `json:"took_ns"`
	// Bytes were received from the kernel or read from the text.
	Bytes uint64 `json:"bytes"`
	// Unread entries or lines could not be understood.
	Unread uint64 `json:"unread"`
	// Resized says that the hash was resized meanwhile: the counts are wrong.
	Resized bool `json:"resized,omitempty"`
	// Margin is by how much a share of one half may be off, 95 times in 100,
	// in hundredths of a percent.
	Margin nfct.Permyriad `json:"margin"`
}

// A share is a piece of evidence.
type share struct {
	Of string `json:"of"`
	// Entries were seen, Share of those looked at; Margin as in seen.
	Entries uint64         `json:"entries"`
	Share   nfct.Permyriad `json:"share"`
	Margin  nfct.Permyriad `json:"margin"`
}

// topShown is how many of each kind of talkers are told.
const topShown = 5

func newDiagnose() *cobra.Command {
	var asJSON, exact bool
	var namespace, from string
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "what the table is made of, why it fills, and what could be done",
		Long: `Diagnose looks into the table: it reads entries for a quarter of a second, an
unbiased sample, or all of them with --exact. It says what they are, what the
cause would be if the table filled with them, what each act of ctwarden would
free and cost, who has the most entries, and what to change for good. It
changes nothing and needs no daemon, but CAP_NET_ADMIN.

With --from it reads the text of /proc/net/nf_conntrack or of conntrack -L, so
that a table of another machine can be diagnosed after the fact.`,
		Example: `  ctwarden diagnose
  ctwarden diagnose --netns web        a name of ip netns, a path, a pid or an inode number
  ssh gw cat /proc/net/nf_conntrack | ctwarden diagnose --from -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from != "" && (namespace != "" || exact) {
				return usageError{errors.New("--from reads a text: it goes with neither --netns nor --exact"), cmd.CommandPath()}
			}
			cfg, err := config.Load(source(cmd))
			if err != nil {
				return err
			}
			d := newDoctor(cfg)
			if from != "" {
				err = d.readText(cmd.InOrStdin(), from)
			} else {
				err = d.readKernel(cmd.Context(), namespace, exact)
			}
			if err != nil {
				return err
			}
			found := d.diagnose()
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(found)
			}
			return found.print(cmd.OutOrStdout(), widthOf(cmd.OutOrStdout()))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print as JSON")
	flags.BoolVar(&exact, "exact", false, "read the whole table, however long it takes")
	flags.StringVar(&namespace, "netns", "", "look into another network namespace: `name`, path, pid or inode number")
	flags.StringVar(&from, "from", "", "read the text of a table from `file`, or from standard input (-)")
	return cmd
}

// diagnose draws the conclusions from what was read.
func (d *doctor) diagnose() *diagnosis {
	full := d.o
	full.Census, full.CensusAt = d.census.Summary, d.o.Now
	a := d.limits.Assess(&policy.State{}, &full)
	found := &diagnosis{
		From: d.from, At: d.o.At, Table: d.o.Table, Timeouts: d.o.Timeouts, Look: d.look,
		Census: d.census.Summary, Make: d.census.Make, Top: d.census.Top(topShown),
		Evidence: []share{}, Acts: []foreseen{}, Advice: []advice{}, Notes: d.notes(),
	}
	if d.from == fromKernel {
		found.Level = a.Level.String()
	}
	found.Look.Margin = d.margin(d.census.Summary.Seen / 2)
	if d.census.Summary.Seen == 0 {
		found.Sentence = "the table is empty"
		return found
	}
	found.Cause = d.causeIfFull(full)
	found.Evidence = d.evidence()
	found.Sentence = sentenceOf(found.Cause, &d.census.Summary)
	found.Acts = d.foresee(&a)
	found.Advice = d.advise(found, &a)
	return found
}

// causeIfFull asks the policy what it would hold for the cause if the table
// were full of what it holds now.
func (d *doctor) causeIfFull(o policy.Observation) policy.Cause {
	o.Table.Max = max(o.Table.Entries, 1)
	o.Table.Entries = o.Table.Max
	o.Full, o.Elsewhere = 0, 0
	a := d.limits.Assess(&policy.State{}, &o)
	return a.Cause
}

// evidence lists the shares that the policy looks at.
func (d *doctor) evidence() []share {
	s := &d.census.Summary
	var list []share
	for _, kind := range []struct {
		of string
		n  uint64
	}{
		{"closing", s.Closing}, {"time_wait", s.TimeWait}, {"half_open", s.HalfOpen}, {"unreplied", s.Unreplied},
		{"established", s.Established}, {"stale", s.Stale}, {"assured", s.Assured}, {"loopback", s.Loopback},
	} {
		list = append(list, share{kind.of, kind.n, s.Share(kind.n), d.margin(kind.n)})
	}
	return list
}

// margin is by how much the share of n may be off, 95 times in 100.
func (d *doctor) margin(n uint64) nfct.Permyriad {
	const normal = 1.96 // standard errors of a normal distribution
	return nfct.Permyriad(normal*10000*d.census.Summary.StandardError(n, d.o.Table.Entries) + 0.5)
}

// sentenceOf says the cause in words.
func sentenceOf(c policy.Cause, s *census.Summary) string {
	p := func(n uint64) string { return percent(s.Share(n)) }
	switch c {
	case policy.Churn:
		return fmt.Sprintf("churn: %s of the entries are connections that are closing, %s in TIME_WAIT; only %s are established",
			p(s.Closing), p(s.TimeWait), p(s.Established))
	case policy.HalfOpen:
		return fmt.Sprintf("half open: %s of the entries are connections that nobody answered", p(s.HalfOpen))
	case policy.Stale:
		return fmt.Sprintf("stale: %s of the entries are established connections that have been silent for more than a day", p(s.Stale))
	}
	return fmt.Sprintf("load: live connections; %s of the entries are assured, %s closing, %s unanswered",
		p(s.Assured), p(s.Closing), p(s.HalfOpen))
}

// percent rounds to whole percents, but for what would be 0 % or 100 % then.
func percent(p nfct.Permyriad) string {
	if whole := (p + 50) / 100; (whole > 0 && whole < 100) || p == 0 || p == 10000 {
		return fmt.Sprintf("%d %%", whole)
	}
	return fmt.Sprintf("%.2f %%", float64(p)/100)
}

// notes says what must be known to read the numbers rightly.
func (d *doctor) notes() []string {
	notes := []string{}
	if d.look.Resized {
		notes = append(notes, "the hash was resized during the look: entries are missing or were counted twice; look again")
	}
	if d.look.Unread > 0 {
		what := "entries"
		if d.from == fromText {
			what = "lines"
		}
		notes = append(notes, fmt.Sprintf("not understood and not counted: %d %s", d.look.Unread, what))
	}
	if d.from == fromText {
		notes = append(notes, "a text does not tell max, memory and timeouts: idle times are by the kernel's default timeouts")
	}
	if d.from == fromKernel && !d.census.Summary.Sampled && d.o.Table.Entries > d.census.Summary.Seen+d.census.Summary.Seen/100+100 {
		notes = append(notes, fmt.Sprintf("the kernel counts %d entries and shows %d: those that have expired and not been removed, and those held by queued packets, are not shown",
			d.o.Table.Entries, d.census.Summary.Seen))
	}
	return notes
}
