package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	review "github.com/ctwarden/ctwarden/internal/report"
	"github.com/ctwarden/ctwarden/policy"
)

func newAuditVerify() *cobra.Command {
	var c comparison
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that no record was altered, removed, inserted or reordered, and decide every plan again",
		Long: `Verify checks the hash chain over all segments and, unless told otherwise,
decides every recorded plan again from its recorded state and observation. Exit
code 3 says that something is wrong; each finding names its record. Plans that
another version of the policy decided are counted and not decided again.

The end of a log can be cut, and all of it written anew, without a trace in the
log itself. Compare it with the copies in the journal (--journal), which may be
another host's, or with a hash that you know from elsewhere (--head).`,
		Example: "  journalctl -u ctwarden -o json | ctwarden audit verify --journal -\n" +
			"  ctwarden audit verify --head 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, path, err := c.verifier(cmd)
			if err != nil {
				return err
			}
			again := newRedecider()
			if !c.noRedecide {
				v.Redecide = again.check
			}
			result, err := v.Verify(cmd.Context(), path)
			if err != nil {
				return err
			}
			return printVerified(cmd.OutOrStdout(), asJSON, &verified{result, again.others()})
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A comparison is what audit verify holds the log against.
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

// verifier returns what checks the log, and where that is.
func (c *comparison) verifier(cmd *cobra.Command) (v audit.Verifier, path string, err error) {
	if c.head != "" {
		known, err := parseHead(c.head)
		if err != nil {
			return v, "", usageError{err, cmd.CommandPath()}
		}
		v.Known = append(v.Known, known)
	}
	if path, err = logPath(cmd, c.log); err != nil {
		return v, "", err
	}
	if c.journal != "" {
		known, err := openHeads(c.journal, cmd.InOrStdin())
		if err != nil {
			return v, "", err
		}
		v.Known = append(v.Known, known...)
	}
	return v, path, nil
}

// verified is what audit verify prints. Its JSON is a contract.
type verified struct {
	audit.Result
	// NotRedecided counts the plans of other policy versions, in their order.
	NotRedecided []otherPolicy `json:"not_redecided,omitempty"`
}

// otherPolicy counts the plans that another version of the policy decided.
type otherPolicy struct {
	Version int    `json:"policy_version"`
	Plans   uint64 `json:"plans"`
}

func (o otherPolicy) String() string {
	plans := "1 plan was"
	if o.Plans != 1 {
		plans = fmt.Sprintf("%d plans were", o.Plans)
	}
	return fmt.Sprintf("%s decided by policy version %d, this program has version %d: not decided again", plans, o.Version, policy.Version)
}

func printVerified(w io.Writer, asJSON bool, r *verified) error {
	if asJSON {
		if err := review.WriteJSON(w, r); err != nil {
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

// A redecider decides recorded plans again: the limits stand in the config
// record before, state and observation in the plan itself. Plans of another
// version of the policy are counted only.
type redecider struct {
	limits map[string]policy.Limits
	plans  map[int]uint64 // by policy version, other ones only
}

func newRedecider() *redecider {
	return &redecider{limits: map[string]policy.Limits{}, plans: map[int]uint64{}}
}

// others returns how many plans each other version of the policy decided.
func (d *redecider) others() []otherPolicy {
	var all []otherPolicy
	for _, version := range slices.Sorted(maps.Keys(d.plans)) {
		all = append(all, otherPolicy{version, d.plans[version]})
	}
	return all
}

func (d *redecider) check(r audit.Record) error {
	switch r.Kind {
	case record.KindConfig:
	case record.KindPlan, record.KindHold, record.KindBreaker:
		if version := record.PolicyVersion(r.Line()); version != policy.Version {
			d.plans[version]++
			return nil
		}
	default:
		return nil
	}
	payload, err := r.Payload()
	if err != nil {
		return err
	}
	switch p := payload.(type) {
	case *record.Config:
		if p.Limits.Digest() != p.Digest {
			return errors.New("the limits do not have the digest that the record gives")
		}
		d.limits[p.Digest] = p.Limits
	case *record.Plan:
		return d.again(&p.Decision)
	case *record.Hold:
		return d.again(&p.Decision)
	case *record.Breaker:
		return d.again(&p.Decision)
	}
	return nil
}

func (d *redecider) again(recorded *record.Decision) error {
	limits, ok := d.limits[recorded.Limits]
	if !ok {
		return errors.New("the limits of this plan are not in the log (removed by retention?)")
	}
	a := limits.Assess(&recorded.State, &recorded.Observation)
	plan := limits.Decide(&recorded.State, &a)
	if plan.Held != recorded.Held || !slices.Equal(plan.Actions, recorded.Actions) {
		return fmt.Errorf("decided again: %s; recorded: %s", decision(&plan), decision(&recorded.Plan))
	}
	return nil
}

// decision says what a plan comes to.
func decision(p *policy.Plan) string {
	if !p.Acts() {
		return "held, " + p.Held.Sentence()
	}
	texts := make([]string, len(p.Actions))
	for n := range p.Actions {
		texts[n] = p.Actions[n].Sentence()
		if p.Actions[n].Would {
			texts[n] = "would " + texts[n]
		}
	}
	return strings.Join(texts, ", ")
}
