package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/report"
)

func newAuditVerify() *cobra.Command {
	var c comparison
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that no record was altered, removed, inserted or reordered, and decide every plan again",
		Long: `Verify checks the hash chain over all segments and, unless --no-redecide is given,
decides every recorded plan again from its recorded state and observation. Exit
code 3 means that something is wrong; each finding names its record. Plans that
another version of the policy decided are counted and not decided again.

The end of a log can be cut, and all of it written anew, without a trace in the
log itself. Compare it with the copies in the journal (--journal), which may be
another host's, or with a hash that you know from elsewhere (--head).`,
		Example: "  journalctl -u ctwarden -o json | ctwarden audit verify --journal -\n" +
			"  ctwarden audit verify --head 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, known, err := c.known(cmd)
			if err != nil {
				return err
			}
			result, err := verify.Log(cmd.Context(), path, known, !c.noRedecide)
			if err != nil {
				return err
			}
			return printVerified(cmd.OutOrStdout(), asJSON, &result)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A comparison names the records with which audit verify compares the log.
type comparison struct {
	noRedecide         bool
	head, journal, log string
}

func (c *comparison) flags(cmd *cobra.Command) {
	logFlag(cmd, &c.log)
	f := cmd.Flags()
	f.BoolVar(&c.noRedecide, "no-redecide", false, "check the chain only")
	f.StringVar(&c.head, "head", "", "a record known from elsewhere, as `SEQ:HASH`")
	f.StringVar(&c.journal, "journal", "", "compare with the copies in the journal: a `file` of journalctl -o json, or - for stdin")
}

// known returns the path of the log, and its records that are known from
// elsewhere.
func (c *comparison) known(cmd *cobra.Command) (path string, known []audit.Checkpoint, err error) {
	if c.head != "" {
		head, err := verify.ParseCheckpoint(c.head)
		if err != nil {
			return "", nil, usageError{fmt.Errorf("--head %w", err), cmd.CommandPath()}
		}
		known = append(known, head)
	}
	if path, err = logPath(cmd, c.log); err != nil {
		return "", nil, err
	}
	if c.journal != "" {
		copies, err := openJournal(c.journal, cmd.InOrStdin())
		if err != nil {
			return "", nil, err
		}
		known = append(known, copies...)
	}
	return path, known, nil
}

func printVerified(w io.Writer, asJSON bool, r *verify.Result) error {
	if asJSON {
		if err := report.WriteJSON(w, r); err != nil {
			return err
		}
	} else {
		for _, p := range r.Problems {
			fmt.Fprintln(w, p.String())
		}
		all, word := uint64(len(r.Problems))+r.More, "problems"
		if all == 1 {
			word = "problem"
		}
		if r.More > 0 {
			fmt.Fprintf(w, "and %d more\n", r.More)
		}
		for _, o := range r.NotRedecided {
			fmt.Fprintln(w, o.String())
		}
		fmt.Fprintf(w, "%d records, %d %s\n", r.Records, all, word)
	}
	if !r.OK() {
		return errFound
	}
	return nil
}

// openJournal reads the journal's copies from a file, or from stdin for "-".
func openJournal(name string, stdin io.Reader) ([]audit.Checkpoint, error) {
	if name == "-" {
		return verify.ReadJournal(stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer file.Close()
	return verify.ReadJournal(file)
}
