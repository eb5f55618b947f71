package policy_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

var update = flag.Bool("update", false, "rewrite the timelines in testdata")

// An archive is one golden file: what differs from the default limits as JSON,
// the load (a scenario, or the name of a built-in one), and what followed. It
// holds names and numbers and no sentences, so that a diff shows a change of
// the law and not of its wording.
type archive struct {
	path                           string
	limits, load, timeline, totals []byte
}

const builtIn = "built-in "

// readArchive returns the archive of this name. That of a built-in scenario
// need not exist yet: it is played under the default limits.
func readArchive(t *testing.T, name string) (a archive, text []byte) {
	t.Helper()
	a = archive{path: filepath.Join("testdata", name+".txtar"), limits: []byte("{}\n"), load: []byte(builtIn + name + "\n")}
	text, err := os.ReadFile(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse(text).Files {
		switch f.Name {
		case "limits":
			a.limits = f.Data
		case "load":
			a.load = f.Data
		case "timeline", "totals": // are made anew
		default:
			t.Fatalf("%s: unknown section %q", a.path, f.Name)
		}
	}
	return a, text
}

func (a *archive) format() []byte {
	return txtar.Format(&txtar.Archive{Files: []txtar.File{
		{Name: "limits", Data: a.limits}, {Name: "load", Data: a.load},
		{Name: "timeline", Data: a.timeline}, {Name: "totals", Data: a.totals},
	}})
}

// play returns what the load comes to under the limits.
func (a *archive) play(t *testing.T, name string) *played {
	t.Helper()
	l := policy.Defaults()
	d := json.NewDecoder(strings.NewReader(string(a.limits)))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		t.Fatalf("%s: limits: %v", a.path, err)
	}
	var s *tablesim.Scenario
	var err error
	if scenario, ok := strings.CutPrefix(string(a.load), builtIn); ok {
		s, err = tablesim.BuiltIn(strings.TrimSpace(scenario))
	} else {
		s, err = tablesim.Parse(name, string(a.load))
	}
	if err != nil {
		t.Fatalf("%s: %v", a.path, err)
	}
	return newPlayed(tablesim.Run(s, &l))
}

// archiveNames returns the names of the golden files and of all built-in
// scenarios.
func archiveNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	names := tablesim.BuiltInNames()
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".txtar"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestScenarios(t *testing.T) {
	names, expected := archiveNames(t), expectations()
	for name := range expected {
		if !slices.Contains(names, name) {
			t.Errorf("no scenario %q", name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, want := readArchive(t, name)
			p := a.play(t, name)
			a.timeline, a.totals = p.timeline(), p.totals(t)
			got := a.format()
			if *update {
				if err := os.WriteFile(a.path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("go test ./policy -run Scenarios -update accepts this (-want +got):\n%s", diff)
			}
			for _, e := range expected[name] {
				if !e.holds(p) {
					t.Errorf("not so: %s", e.text)
				}
			}
		})
	}
}

// An expectation is what must hold of a scenario, however its timeline changes.
type expectation struct {
	text  string
	holds func(*played) bool
}

// expectations returns them by the name of the scenario.
func expectations() map[string][]expectation {
	none := conntrack.NoTimeout
	return map[string][]expectation{
		"case_a_compute_node": {
			{"short connections are churn", func(p *played) bool { return slices.Contains(p.causes, policy.Churn) }},
			{"max is raised, time_wait shortened, closing entries aged", func(p *played) bool {
				return p.did(policy.RaiseMax, none) && p.did(policy.ShortenTimeout, conntrack.TCPTimeWait) && p.did(policy.AgeEntries, none)
			}},
			{"established is not touched", func(p *played) bool {
				return !p.did(policy.ShortenTimeout, conntrack.TCPEstablished) && !slices.ContainsFunc(p.acts, func(act policy.Action) bool {
					return act.Class == policy.Established
				})
			}},
			{"nothing is lost, and time_wait is what it was", func(p *played) bool {
				return p.Policy.Losses.Packets() == 0 && p.acts[len(p.acts)-1].To == 120
			}},
		},
		"ramp": {{"a ramp that fits the budget loses nothing", func(p *played) bool {
			return p.Policy.Losses.Packets() == 0 && p.Nothing.Losses.Packets() > 0 && p.Cron.Losses.Packets() > 0
		}}},
		"syn_flood": {{"a flood of SYN is half-open", func(p *played) bool {
			return slices.Contains(p.causes, policy.HalfOpen) && p.did(policy.ShortenTimeout, conntrack.TCPSynRecv)
		}}},
		"udp_scan": {{"idle entries of a scan are deleted", func(p *played) bool { return p.did(policy.DeleteEntries, none) }}},
		"established_idle_attack": {{"idle connections are never aged", func(p *played) bool {
			return !p.did(policy.AgeEntries, none) && p.Policy.Losses.Packets() == 0
		}}},
		"nat_burst": {{"insert conflicts are held as such, and do not hide a burst", func(p *played) bool {
			return slices.Contains(p.holds, policy.HeldInsertFailed) && p.did(policy.RaiseMax, none) && p.Policy.Losses.Packets() == 0
		}}},
		"netns_neighbour": {{"a full table of another namespace does not raise max", func(p *played) bool {
			return slices.Contains(p.holds, policy.HeldElsewhere) && !p.did(policy.RaiseMax, none)
		}}},
		"max_zero": {{"a table without a limit is held as such", func(p *played) bool {
			return slices.Contains(p.holds, policy.HeldUnlimited)
		}}},
		"two_tuners_fighting": {{"each override doubles the yield", func(p *played) bool {
			return len(p.yields) > 1 && p.yields[0] == time.Hour && p.yields[1] == 2*time.Hour
		}}},
		"max_lowered_by_admin": {{"a max that an administrator lowers is not touched for an hour", func(p *played) bool {
			return len(p.yields) == 1 && slices.Contains(p.holds, policy.HeldYielded)
		}}},
		"budget_exhausted": {
			{"a full table is not taken for lack of memory", func(p *played) bool {
				return p.Policy.Losses.Full > 0 && p.Policy.Losses.NoMemory == 0 && !slices.Contains(p.causes, policy.NoMemory)
			}},
			{"raises end at the budget", func(p *played) bool { return slices.Contains(p.holds, policy.HeldBudget) }},
		},
		"reboot_mid_change": {{"a full table is not taken for lack of memory after a reboot", func(p *played) bool {
			return p.Policy.Losses.Full > 0 && !slices.Contains(p.causes, policy.NoMemory)
		}}},
		"observe_mode": {{"every act is a would, and none changes the table", func(p *played) bool {
			return len(p.acts) > 0 && p.Policy.Max == p.Nothing.Max && p.Policy.Buckets == p.Nothing.Buckets &&
				!slices.ContainsFunc(p.acts, func(act policy.Action) bool { return !act.Would })
		}}},
		"ceiling_reached": {{"max ends at the ceiling, and timeouts are shortened", func(p *played) bool {
			return p.Policy.Max == 100_000 && p.did(policy.ShortenTimeout, conntrack.TCPTimeWait)
		}}},
		"established_aged": {{"idle connections are aged where the administrator opted in", func(p *played) bool {
			return slices.ContainsFunc(p.acts, func(act policy.Action) bool {
				return act.Type == policy.AgeEntries && act.Class == policy.Established
			})
		}}},
	}
}
