package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
)

func TestContradictingValues(t *testing.T) {
	tests := []struct {
		name, text string
		environ    []string
		flags      map[string]string
		want       []string
	}{
		{"leave at enter", "levels:\n  elevated: {enter: 75%, leave: 75%}\n", nil, nil, []string{
			`f:2:33: levels.elevated.leave: expected less than levels.elevated.enter (75%), found "75%"`,
		}},
		{"enter below the default of leave", "levels: {high: {enter: 79%}}\n", nil, nil, []string{
			`f:1:24: levels.high.enter: expected more than levels.high.leave (80%, the default), found "79%"`,
		}},
		{"levels out of order", "levels:\n  elevated: {enter: 96%}\n", nil, nil, []string{
			`f:2:21: levels.elevated.enter: expected less than levels.high.enter (85%, the default), found "96%"`,
		}},
		{"exhausted entered below high", "levels:\n  high: {leave: 60%}\n  exhausted: {enter: 85%, leave: 70%}\n", nil, nil, []string{
			`f:3:22: levels.exhausted.enter: expected more than levels.high.enter (85%, the default), found "85%"`,
		}},
		{"elevated left above high", "levels:\n  elevated: {leave: 65%}\n  high: {leave: 64%}\n", nil, nil, []string{
			`f:2:21: levels.elevated.leave: expected at most levels.high.leave (64%), found "65%"`,
		}},
		{"exhausted left below high", "levels:\n  exhausted: {leave: 79%}\n", nil, nil, []string{
			`f:2:22: levels.exhausted.leave: expected at least levels.high.leave (80%, the default), found "79%"`,
		}},
		{"the kernel believed below leave", "levels: {exhausted: {near_max: 89%}}\n", nil, nil, []string{
			`f:1:32: levels.exhausted.near_max: expected at least levels.exhausted.leave (90%, the default), found "89%"`,
		}},
		{"a forecast counting above enter", "levels: {elevated: {forecast_fill: 76%}}\n", nil, nil, []string{
			`f:1:36: levels.elevated.forecast_fill: expected at most levels.elevated.enter (75%, the default), found "76%"`,
		}},
		{"high sooner than elevated", "levels: {high: {forecast: 3m}}\n", nil, nil, []string{
			`f:1:27: levels.high.forecast: expected at most levels.elevated.forecast (2m, the default), found "3m"`,
		}},
		{"sampling upside down", "sampling: {min: 2s}\n", nil, nil, []string{
			`f:1:17: sampling.min: expected at most sampling.high (250ms, the default), found "2s"`,
		}},
		{"sampling slower when high", "sampling: {high: 2s}\n", nil, nil, []string{
			`f:1:18: sampling.high: expected at most sampling.calm (1s, the default), found "2s"`,
		}},
		{"steps upside down", "raise: {min_step: 50%, max_step: 40%, useful_step: 60%}\n", nil, nil, []string{
			`f:1:19: raise.min_step: expected at most raise.max_step (40%), found "50%"`,
			`f:1:52: raise.useful_step: expected at most raise.min_step (50%), found "60%"`,
		}},
		{"a storm before calm", "hash: {max_ratio: 7, storm_ratio: 6, calm_fill: 80%}\n", nil, nil, []string{
			"f:1:19: hash.max_ratio: expected at most hash.storm_ratio (6), found 7",
			`f:1:49: hash.calm_fill: expected at most levels.elevated.enter (75%, the default), found "80%"`,
		}},
		{"syn_sent deleted before others", "delete: {min_idle: 20s}\n", nil, nil, []string{
			`f:1:20: delete.min_idle: expected at most delete.syn_sent_idle (15s, the default), found "20s"`,
		}},
		{"pauses that shrink", "breaker: {pause: 2d}\nbackoff: {max_pause: 30m}\n", nil, nil, []string{
			`f:1:18: breaker.pause: expected at most breaker.max_pause (24h, the default), found "2d"`,
			`f:2:22: backoff.max_pause: expected at least backoff.pause (1h, the default), found "30m"`,
		}},
		{"segments larger than all of them", "audit: {max_size: 1GiB, max_age: 100d}\n", nil, nil, []string{
			`f:1:19: audit.max_size: expected at most audit.keep_size (256MiB, the default), found "1GiB"`,
			`f:1:34: audit.max_age: expected at most audit.keep_age (90d, the default), found "100d"`,
		}},
		{
			"a flag at odds with the file is the flag's", "levels: {high: {leave: 70%, enter: 76%}}\n", nil,
			map[string]string{"levels.high.leave": "76%"},
			[]string{`flag levels.high.leave: expected less than levels.high.enter (76%), found "76%"`},
		},
		{
			"a variable at odds with the file is the variable's", "levels: {high: {leave: 70%}}\n", []string{"CTWARDEN_LEVELS_HIGH_ENTER=70%"}, nil,
			[]string{
				`environment CTWARDEN_LEVELS_HIGH_ENTER: levels.high.enter: expected more than levels.high.leave (70%), found "70%"`,
				`environment CTWARDEN_LEVELS_HIGH_ENTER: levels.high.enter: expected more than levels.elevated.enter (75%, the default), found "70%"`,
			},
		},
		{"one path for two things", "state: {dir: /x}\ncontrol: {socket: /x}\n", nil, nil, []string{
			`f:2:19: control.socket: expected another path than that of state.dir, found "/x"`,
		}},
		{"a wrong value is not compared", "levels: {high: {enter: 10%, leave: 101%}}\n", nil, nil, []string{
			`f:1:24: levels.high.enter: expected more than levels.elevated.enter (75%, the default), found "10%"`,
			`f:1:36: levels.high.leave: expected a share between 1% and 100%, found "101%"`,
		}},
		{"nor what is below it", "levels: {high: {enter: 101%, leave: 89%}}\naudit: {keep_age: 1, max_age: 100d}\n", nil, nil, []string{
			`f:1:24: levels.high.enter: expected a share between 1% and 100%, found "101%"`,
			"f:2:19: audit.keep_age: expected 0s (for ever) or a duration between 1d and 3650d, found 1",
		}},
		{
			"nor a path with one that is wrong", "state: {dir: /run/ctwarden/control.sock}\ncontrol: {socket: x}\n", nil, nil,
			[]string{`f:2:19: control.socket: expected an absolute path of at most 107 bytes, without "..", "//" or a slash at its end, found "x"`},
		},
		{
			"an unknown variable hides nothing", "levels: {high: {enter: 79%}}\n", []string{"CTWARDEN_X="}, nil,
			[]string{
				`f:1:24: levels.high.enter: expected more than levels.high.leave (80%, the default), found "79%"`,
				"environment CTWARDEN_X: unknown variable",
			},
		},
		{"nor one beside a key that was misspelt", "levels: {high: {leave: 89%, entr: 90%}}\nrestore_after: {calm: 1}\n", nil, nil, []string{
			"f:1:29: levels.high.entr: unknown key; did you mean levels.high.enter?",
			"f:2:23: restore_after.calm: expected a duration between 1s and 7d, found 1",
		}},
		{"nor one beside a key that was renamed", "levels: {elevated: {enter: 20%, soon: 3m}}\n", nil, nil, []string{
			"f:1:33: levels.elevated.soon: the key was renamed; write levels: {elevated: {forecast: …}}",
		}},
		{"nor one in a section that was refused", "levels: &a {high: {enter: 10%}}\n", []string{"CTWARDEN_LEVELS_HIGH_LEAVE=86%"}, nil, []string{
			"f:1:9: levels: expected a value, found an anchor, &a",
		}},
		{"nor anything if the file is no YAML", "levels: {\n", []string{"CTWARDEN_LEVELS_HIGH_LEAVE=86%", "CTWARDEN_X=1"}, nil, []string{
			"f:1: not YAML: did not find expected node content",
			"environment CTWARDEN_X: unknown variable",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := complaints(t, config.Source{Path: write(t, tt.text), Environ: tt.environ, Flags: tt.flags})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSwitchedOffIsComparedWithNothing(t *testing.T) {
	loaded(t, config.Source{Path: write(t, "audit: {max_age: 365d, keep_age: 0s}\nhash: {max_ratio: 0, storm_ratio: 1}\n")})
}

func TestValidateFindsWhatIsAtOdds(t *testing.T) {
	c := config.Default()
	c.Limits.Breaker.Acts = 65
	c.Limits.Levels.HighLeave = 8500
	c.Protect.Zones = make([]uint16, 257)
	c.Control.Socket = c.State.Dir
	want := `breaker.acts: expected a whole number between 1 and 64, found 65
protect.zones: expected at most 256 items, found 257
levels.high.leave: expected less than levels.high.enter (85%, the default), found "85%"
control.socket: expected another path than that of state.dir, found "/var/lib/ctwarden"`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
