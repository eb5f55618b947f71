package diagnosis

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/watcher"
)

func TestTheFullestAreRanked(t *testing.T) {
	full := []watcher.Namespace{{Inode: 3, Entries: 900}, {Inode: 2, Entries: 30}, {Inode: 1, Entries: 1}}
	told := []FullTable{{full[0].Name(), full[0], 9000}, {full[1].Name(), full[1], 300}}
	for name, test := range map[string]struct {
		sweep watcher.Sweep
		limit uint64
		want  Elsewhere
	}{
		"none":                {watcher.Sweep{}, 1000, Elsewhere{Fullest: []FullTable{}}},
		"more than are told":  {watcher.Sweep{Namespaces: 4, Entries: 931, Full: full}, 1000, Elsewhere{Namespaces: 4, Entries: 931, Fullest: told}},
		"there is no limit":   {watcher.Sweep{Full: full[:1]}, 0, Elsewhere{Fullest: []FullTable{{told[0].Name, full[0], 0}}}},
		"some can't be read":  {watcher.Sweep{Unread: 2}, 1000, Elsewhere{Unread: 2, Missing: missing, Fullest: []FullTable{}}},
		"some can't be known": {watcher.Sweep{Hidden: 3}, 1000, Elsewhere{Hidden: 3, Missing: missing, Fullest: []FullTable{}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(&test.want, Rank(&test.sweep, test.limit, 2)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsElsewhereIsToldInAFewLines(t *testing.T) {
	web := FullTable{"web", watcher.Namespace{Inode: 4026532001, Entries: 900}, 9000}
	hidden := FullTable{"nginx (pid 7)", watcher.Namespace{Inode: 4026532002, Guessed: true, PID: 7, Entries: 901}, 9010}
	for _, c := range []struct {
		name string
		e    *Elsewhere
		own  uint64
		want []string
	}{
		{"nobody asked", nil, 0, nil},
		{"there is nothing", &Elsewhere{}, 0, nil},
		{"all are empty", &Elsewhere{Namespaces: 2}, 0, []string{"elsewhere  2 other network namespaces with 0 entries"}},
		{
			"one is fuller", &Elsewhere{Namespaces: 2, Entries: 950, Fullest: []FullTable{web}}, 10,
			[]string{
				"elsewhere  2 other network namespaces with 950 entries", "900 entries (90 % of max): web, netns 4026532001",
				"the first is fuller than the table above: ctwarden diagnose --netns 4026532001",
			},
		},
		{
			"none is fuller", &Elsewhere{Namespaces: 2, Entries: 950, Fullest: []FullTable{web}}, 900,
			[]string{"elsewhere  2 other network namespaces with 950 entries", "900 entries (90 % of max): web, netns 4026532001"},
		},
		{
			"some hide", &Elsewhere{Namespaces: 1, Entries: 901, Hidden: 3, Unread: 2, Missing: "X", Fullest: []FullTable{hidden}}, 0,
			[]string{
				"elsewhere  1 other network namespaces with 901 entries", "901 entries (90 % of max): nginx (pid 7), netns 4026532002",
				"the first is fuller than the table above: ctwarden diagnose --netns 7",
				"2 namespaces can't be read and 3 processes can't be looked at: that takes X",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			c.e.print(&screen{out: &out, width: 200}, c.own)
			var got []string
			for line := range strings.Lines(out.String()) {
				if line = strings.TrimSpace(line); line != "" {
					got = append(got, line)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
