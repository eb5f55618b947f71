package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// An OtherPolicy counts the plans that another version of the policy decided.
type OtherPolicy struct {
	Version int    `json:"policy_version"`
	Plans   uint64 `json:"plans"`
}

// String returns one line for people.
func (o OtherPolicy) String() string {
	plans := "1 plan was"
	if o.Plans != 1 {
		plans = fmt.Sprintf("%d plans were", o.Plans)
	}
	return fmt.Sprintf("%s decided by policy version %d, this program has version %d: not decided again", plans, o.Version, policy.Version)
}

// Log reads the whole log at path in bounded memory. It compares the chain with
// the known records, and decides each plan again if redecide is set. An error is
// for a failed read; problems of the log are in the Result.
func Log(ctx context.Context, path string, known []audit.Checkpoint, redecide bool) (Result, error) {
	again := redecider{limits: map[string]policy.Limits{}, plans: map[int]uint64{}}
	v := Verifier{Known: known}
	if redecide {
		v.Redecide = again.check
	}
	result, err := v.Verify(ctx, path)
	result.NotRedecided = again.others()
	return result, err
}

// A redecider decides recorded plans again: the limits stand in the config
// record before, state and observation in the plan itself. Plans of another
// version of the policy are counted only.
type redecider struct {
	limits map[string]policy.Limits
	plans  map[int]uint64 // by policy version, other ones only
}

// others returns how many plans each other version of the policy decided.
func (d *redecider) others() []OtherPolicy {
	var all []OtherPolicy
	for _, version := range slices.Sorted(maps.Keys(d.plans)) {
		all = append(all, OtherPolicy{version, d.plans[version]})
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

// decision returns a plan in words.
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
