package tablesim_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

var update = flag.Bool("update", false, "rewrite the golden timelines and docs/fleet.md")

// playBuiltIn plays a built-in scenario under the default limits.
func playBuiltIn(t *testing.T, name string) *tablesim.Result {
	t.Helper()
	s, err := tablesim.BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	l := policy.Defaults()
	return tablesim.Run(s, &l)
}

// TestTimelineText covers each kind of line. The timelines of all scenarios,
// without their wording, are compared in policy/testdata.
func TestTimelineText(t *testing.T) {
	for _, name := range []string{"two_tuners_fighting", "udp_scan"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := playBuiltIn(t, name).WriteTimeline(&b); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (create it: go test ./internal/tablesim -run TimelineText -update)", err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("timeline (-want +got):\n%s", diff)
			}
		})
	}
}
