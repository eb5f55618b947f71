package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/policy"
)

func TestWhatIsOpenedAtTheStartNeedsARestart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   []string
	}{
		"nothing":  {func(*config.Config) {}, nil},
		"a limit":  {func(c *config.Config) { c.Limits.Mode = policy.Observe }, nil},
		"patterns": {func(c *config.Config) { c.NetNS.Include, c.NetNS.Exclude = []string{"a"}, []string{"b"} }, nil},
		"acting":   {func(c *config.Config) { c.NetNS.Act = true }, []string{"netns.act"}},
		"watching": {
			func(c *config.Config) {
				c.Watch = config.Watch{KMsg: config.Off, Journald: config.Off, NetNS: config.All}
			},
			[]string{"watch.journald", "watch.kmsg", "watch.netns"},
		},
		"places": {
			func(c *config.Config) { c.Audit.Path, c.State.Dir, c.Control.Socket = "/a", "/s", "/c" },
			[]string{"audit.path", "control.socket", "state.dir"},
		},
		"metrics": {
			func(c *config.Config) { c.Metrics.Listen, c.Metrics.Textfile = "[::1]:1", "/m.prom" },
			[]string{"metrics.listen", "metrics.textfile"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			begun, cfg := config.Default(), config.Default()
			c.change(&cfg)
			got := needRestart(&begun, &cfg)
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("need a restart (-want +got):\n%s", diff)
			}
		})
	}
}
