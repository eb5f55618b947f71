package tablesim_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

const minimal = "memory 1GiB\nkernel 6.1\nrun 1m\n"

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		text string
		want string
	}{
		"nothing":                             {"", "memory is missing"},
		"no kernel":                           {"memory 1GiB\nrun 1m\n", "kernel is missing"},
		"no duration of the run":              {"memory 1GiB\nkernel 6.1\n", "run is missing"},
		"an unknown keyword":                  {minimal + "memroy 1GiB\n", `line 4: unknown word "memroy"`},
		"a keyword twice":                     {minimal + "\n# so\nrun 2m\n", "line 6: run stands here a second time"},
		"a bare number for a duration":        {minimal + "at 10: reboot\n", `line 4: "10" is not a duration`},
		"an unknown class":                    {minimal + "at 1s: udq 5/s\n", `line 4: "udq" is neither a class nor an event`},
		"a rate without its unit":             {minimal + "at 1s: udp_unreplied 5\n", `line 4: "5" is not a rate`},
		"a rate that is not a number":         {minimal + "at 1s: udp_unreplied NaN/s\n", `line 4: "NaN/s" is not a rate`},
		"a rate beyond bounds":                {minimal + "at 1s: udp_unreplied 1e8/s\n", `line 4: "1e8/s" is not a rate`},
		"a negative rate":                     {minimal + "at 1s: udp_unreplied -1/s\n", `line 4: "-1/s" is not a rate`},
		"a load that begins after the end":    {minimal + "at 2m: dns 5/s\n", "a load begins at 2m0s, after the end"},
		"a load that repeats":                 {minimal + "at 2s every 1s for 1m: dns 5/s\n", "line 4: a load has no every"},
		"an event without an end":             {minimal + "at 2s every 1s: reboot\n", "line 4: an event has every and for, or neither"},
		"an event that lasts":                 {minimal + "at 2s for 1s: reboot\n", "line 4: an event has every and for, or neither"},
		"no colon":                            {minimal + "at 2s reboot\n", `line 4: want a colon, have "reboot"`},
		"a duration for what has none":        {minimal + "at 2s: syn 5/s lasting 1s\n", "line 4: syn has no duration"},
		"a namespace that is not declared":    {minimal + "at 2s: syn 5/s in web\n", `line 4: no namespace "web": a netns line must come first`},
		"a namespace twice":                   {minimal + "netns web 5\nnetns web 6\n", `line 5: "web" can't be the name of another namespace`},
		"a namespace without a number":        {minimal + "netns web\n", `line 4: "" is not a number from 1 to 4294967295`},
		"extra words at the end":              {minimal + "at 2s: reboot now\n", `line 4: "now" is too much`},
		"an unknown timeout":                  {minimal + "timeout udp 5\n", `line 4: unknown timeout "udp"`},
		"an unknown knob":                     {minimal + "at 1s: set min 5\n", `line 4: "min" is neither max, buckets nor a timeout`},
		"a kernel release without numbers":    {"memory 1GiB\nkernel new\n", `line 2: "new" is not a kernel release such as 6.1`},
		"a size without a unit":               {"memory 8\n", `line 1: "8" is not a size such as 8GiB`},
		"a size that overflows":               {"memory 99999999999GiB\n", `line 1: "99999999999GiB" is not a size`},
		"more memory available than there is": {"memory 1GiB available 2GiB\n", "line 1: more is available than there is"},
		"max 0 on a kernel that refuses it":   {"memory 1GiB\nkernel 7.0\nrun 1m\nmax 0\n", "kernel 7.0 refuses max 0"},
		"a part that can't be read only":      {minimal + "readonly max hash\n", `line 4: "hash" is none of max, buckets, timeouts, entries`},
		"clashes at the start":                {minimal + "start clash 5\n", "line 4: clash takes no room"},
		"no entries at the start":             {minimal + "start tcp 0\n", `line 4: "0" is not a number from 1`},
		"a gc that never runs":                {minimal + "gc 0s\n", `line 4: "0s" is not a duration from 1ms to 5m0s`},
		"a line that is too long":             {minimal + "about " + strings.Repeat("x", 500) + "\n", "line 4: longer than 500 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tablesim.Parse("test", test.text)
			if err == nil || !strings.HasPrefix(err.Error(), "scenario test: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestParseSetsDefaults(t *testing.T) {
	tests := map[string]struct {
		text         string
		max, buckets uint64
	}{
		"a small host since Linux 5.15":   {"memory 2GiB\nkernel 6.1\nrun 1m", 65536, 65536},
		"a large host since Linux 5.15":   {"memory 8GiB\nkernel 6.1\nrun 1m", 262144, 262144},
		"a large host before 5.15":        {"memory 8GiB\nkernel 5.10\nrun 1m", 262144, 65536},
		"buckets are whole pages":         {"memory 8GiB\nkernel 6.1\nrun 1m\nbuckets 1000", 1024, 1024},
		"max alone leaves the hash as is": {"memory 8GiB\nkernel 6.1\nrun 1m\nmax 5", 5, 262144},
		"max 0 is a value":                {"memory 8GiB\nkernel 6.1\nrun 1m\nmax 0", 0, 262144},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := tablesim.Parse("test", test.text)
			if err != nil {
				t.Fatal(err)
			}
			if s.Machine.Max != test.max || s.Machine.Buckets != test.buckets {
				t.Errorf("max %d, buckets %d, want %d and %d", s.Machine.Max, s.Machine.Buckets, test.max, test.buckets)
			}
		})
	}
}

// everyWord is a scenario with every word of the format.
const everyWord = `about every word there is
memory 8GiB available 1536MiB
kernel 6.17
max 65536
buckets 65536
timeout udp_timeout 20
readonly buckets entries
netns web 4026532177
gc 12.5s
phase 40%
run 1h0m0s
noise 12.5%
seed 7
start tcp 500
start tcp_idle 500 idle 30h0m0s
start dns 5 in web
at 0s for 1h0m0s: tcp_short 100/s
at 1s for 10s: tcp 0.5/s to 100/s lasting 5s in web
at 1s: set max 5
at 1s every 1m0s for 10m0s: multiply tcp_timeout_time_wait 2
at 1s: memory 512KiB
at 1s: pressure 2.5%
at 1s: log_noise 100/s
at 1s: wall_clock -1h0m0s
at 1s: boot_clock 1m0s
at 1s: reboot
at 1s: unload
at 1s: reload
at 1s: pause 10m0s
at 1s: resume
`

func TestScenarioRoundTrip(t *testing.T) {
	s, err := tablesim.Parse("all", everyWord)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyWord, s.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestTheErrorOfAnUnknownScenarioListsAll(t *testing.T) {
	_, err := tablesim.BuiltIn("nosuch")
	if err == nil || !strings.Contains(err.Error(), `"nosuch"`) || !strings.Contains(err.Error(), "syn_flood") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(everyWord)
	f.Add(minimal + "at 9e9h: tcp 1/s\n")
	for _, name := range tablesim.BuiltInNames() {
		text, err := tablesim.BuiltInText(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := tablesim.Parse("fuzz", text)
		if err != nil {
			return
		}
		again, err := tablesim.Parse("fuzz", s.String())
		if err != nil {
			t.Fatalf("%v in:\n%s", err, s)
		}
		if diff := cmp.Diff(s, again); diff != "" {
			t.Errorf("parsed again (-first +second):\n%s", diff)
		}
		// A short walk of any scenario must end.
		s.Run = min(s.Run, 90e9)
		turns := 0
		l := policy.Defaults()
		tablesim.Simulate(s, &l, func(*tablesim.Iteration) bool { turns++; return turns < 200 })
	})
}

func TestResultIsJSON(t *testing.T) {
	r := playBuiltIn(t, "case_a_compute_node")
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again tablesim.Result
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*r, again); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}
