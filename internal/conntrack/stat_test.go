package conntrack_test

import (
	"math"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/google/go-cmp/cmp"
)

const (
	header618 = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
	header510 = "entries  clashres found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
	header310 = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
	// Each column of statRow holds its own place, from 1.
	statRow = "00000001  00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a 0000000b 0000000c 0000000d  0000000e 0000000f 00000010 00000011\n"
)

func TestParseCPUStats(t *testing.T) {
	row618 := conntrack.CPUStat{
		Entries: 1, ClashResolve: 2, Found: 3, Invalid: 5, ChainTooLong: 8, Insert: 9, InsertFailed: 10,
		Drop: 11, EarlyDrop: 12, Error: 13, SearchRestart: 17,
	}
	row510, row310 := row618, row618
	row510.ChainTooLong = 0
	row310.ChainTooLong, row310.ClashResolve = 0, 0
	for _, c := range []struct {
		name, text string
		want       []conntrack.CPUStat
	}{
		{"linux 5.15 and later count long chains", header618 + statRow, []conntrack.CPUStat{row618}},
		{"linux 5.10 has another eighth column", header510 + statRow, []conntrack.CPUStat{row510}},
		{"linux 3.10 has another second column too", header310 + statRow, []conntrack.CPUStat{row310}},
		{"one row for each processor", header618 + statRow + statRow, []conntrack.CPUStat{row618, row618}},
		{
			"columns in another order, with one nobody knows", "drop early_drop novelty insert_failed entries\n1 2 3 4 5\n",
			[]conntrack.CPUStat{{Drop: 1, EarlyDrop: 2, InsertFailed: 4, Entries: 5}},
		},
		{
			"all bits set", "drop early_drop insert_failed entries\nffffffff ffffffff ffffffff ffffffff\n",
			[]conntrack.CPUStat{{Drop: math.MaxUint32, EarlyDrop: math.MaxUint32, InsertFailed: math.MaxUint32, Entries: math.MaxUint32}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := conntrack.ParseCPUStats([]byte(c.text), nil)
			if err != nil {
				t.Fatalf("ParseCPUStats: %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ParseCPUStats (-want +got):\n%s", diff)
			}
		})
	}
}

func badStats() map[string][2]string {
	small := "drop early_drop insert_failed entries\n"
	return map[string][2]string{
		"an empty file":                        {"", "line 1: header is missing"},
		"a header cut short":                   {"entries drop", "line 1: header is missing"},
		"a header without rows":                {header618, "line 2: no processor"},
		"no drop column":                       {"entries early_drop insert_failed\n1 2 3\n", "line 1: no column drop"},
		"no entries column":                    {"drop early_drop insert_failed\n1 2 3\n", "line 1: no column entries"},
		"a column twice":                       {"drop " + small + "1 2 3 4 5\n", "line 1: column drop twice"},
		"a header with a control character":    {"drop early_drop insert_failed entries\x1b\n1 2 3 4\n", `line 1: entries\x1b is not the name`},
		"a header in upper case":               {"DROP early_drop insert_failed entries\n1 2 3 4\n", "line 1: DROP is not the name"},
		"far too many columns":                 {strings.Repeat("x ", 65) + "\n", "line 1: more than 64 columns"},
		"numbers instead of a header":          {"1 2 3 4\n", "line 1: no column entries"},
		"a row cut short within a number":      {header618 + statRow + "00000001  0000", "line 3: cut short"},
		"a row cut short before its newline":   {header618 + strings.TrimSuffix(statRow, "\n"), "line 2: cut short"},
		"a row with too few numbers":           {small + "1 2 3\n", "line 2: 3 numbers, want 4"},
		"a row with too many numbers":          {small + "1 2 3 4 5\n", "line 2: more than 4 numbers"},
		"an empty row":                         {small + "1 2 3 4\n\n", "line 3: 0 numbers, want 4"},
		"a number of 33 bits":                  {small + "100000000 2 3 4\n", "line 2: column drop: 100000000 is not"},
		"a word":                               {small + "1 lots 3 4\n", "line 2: column early_drop: lots is not"},
		"a sign":                               {small + "1 2 -3 4\n", "line 2: column insert_failed: -3 is not"},
		"a prefix":                             {small + "0x1 2 3 4\n", "line 2: column drop: 0x1 is not"},
		"upper case, which no kernel prints":   {small + "1 2 3 FF\n", "line 2: column entries: FF is not"},
		"garbage is made printable":            {small + "\x1b[2J 2 3 4\n", `line 2: column drop: \x1b[2J is not`},
		"garbage in a column nobody reads":     {header618 + strings.Replace(statRow, "00000004", "garbage!", 1), "line 2: column new: garbage! is not"},
		"the header of another file":           {"entries in_hit in_slow_tot\n1 2 3\n", "line 1: no column insert_failed"},
		"a carriage return is not a separator": {small + "1 2 3 4\r\n", "line 2: column entries"},
	}
}

func TestParseCPUStatsNamesTheBrokenLine(t *testing.T) {
	for name, c := range badStats() {
		t.Run(name, func(t *testing.T) {
			got, err := conntrack.ParseCPUStats([]byte(c[0]), nil)
			if err == nil || !strings.Contains(err.Error(), c[1]) {
				t.Errorf("ParseCPUStats error is %v, want one with %q", err, c[1])
			}
			if got != nil {
				t.Errorf("ParseCPUStats returns %d rows beside the error", len(got))
			}
		})
	}
}

func TestParseCPUStatsReusesRows(t *testing.T) {
	text := []byte(header618 + strings.Repeat(statRow, 64))
	rows := make([]conntrack.CPUStat, 0, 64)
	if n := testing.AllocsPerRun(50, func() {
		if _, err := conntrack.ParseCPUStats(text, rows); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("ParseCPUStats allocates %v times, want 0", n)
	}
	dirty := []conntrack.CPUStat{{Drop: 7}, {Drop: 8}, {Drop: 9}}
	got, err := conntrack.ParseCPUStats([]byte(header618+statRow), dirty)
	if err != nil || len(got) != 1 || got[0].Drop != 11 {
		t.Errorf("ParseCPUStats into used rows = %+v, %v, want one row with 11 drops", got, err)
	}
}

func FuzzParseCPUStats(f *testing.F) {
	f.Add([]byte(header618 + statRow + statRow))
	f.Add([]byte(header310 + statRow))
	for _, c := range badStats() {
		f.Add([]byte(c[0]))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := conntrack.ParseCPUStats(text, nil)
		if (err == nil) != (len(rows) > 0) {
			t.Errorf("ParseCPUStats gives %d rows and error %v", len(rows), err)
		}
		if err == nil && len(rows) != strings.Count(string(text), "\n")-1 {
			t.Errorf("ParseCPUStats gives %d rows for %d lines", len(rows), strings.Count(string(text), "\n"))
		}
		if err != nil && conntrack.Printable(err.Error(), 4096) != err.Error() {
			t.Errorf("the error is not printable: %q", err)
		}
		var tally conntrack.CounterSum
		if got := tally.Add(rows); got != (conntrack.Counters{}) {
			t.Errorf("the first reading counts %+v, want nothing", got)
		}
		if got := tally.Add(rows); got != (conntrack.Counters{}) || tally.Resets() != 0 {
			t.Errorf("the same reading again counts %+v, want nothing", got)
		}
	})
}

// drops makes a reading in which each processor dropped so many packets.
func drops(each ...uint32) []conntrack.CPUStat {
	rows := make([]conntrack.CPUStat, len(each))
	for i, n := range each {
		rows[i].Drop = n
	}
	return rows
}

func TestTally(t *testing.T) {
	const top = math.MaxUint32
	for _, c := range []struct {
		name     string
		readings [][]conntrack.CPUStat
		want     uint64 // drops
		resets   uint64
	}{
		{"the first reading is where counting starts", [][]conntrack.CPUStat{drops(500, 7)}, 0, 0},
		{"no reading at all", nil, 0, 0},
		{"processors add up", [][]conntrack.CPUStat{drops(1, 2), drops(11, 22)}, 30, 0},
		{"a wrap is counted through", [][]conntrack.CPUStat{drops(top-4, 0), drops(5, 0)}, 10, 0},
		{"a wrap on one processor only", [][]conntrack.CPUStat{drops(top, top-9), drops(0, top)}, 10, 0},
		{"a wrap from the first value of the last sixteenth", [][]conntrack.CPUStat{drops(0xf0000000), drops(0)}, 1 << 28, 0},
		{"just below it, it is a reset", [][]conntrack.CPUStat{drops(0xefffffff), drops(3)}, 3, 1},
		{"a wrap to the last value of the first sixteenth", [][]conntrack.CPUStat{drops(top), drops(1<<28 - 1)}, 1 << 28, 0},
		{"just above it, it is a reset", [][]conntrack.CPUStat{drops(top), drops(1 << 28)}, 1 << 28, 1},
		{"a reset counts from zero", [][]conntrack.CPUStat{drops(1000), drops(1500), drops(3)}, 503, 1},
		{"a reset of a large counter is no wrap", [][]conntrack.CPUStat{drops(3_000_000_000), drops(10)}, 10, 1},
		{"a reset concerns every processor", [][]conntrack.CPUStat{drops(1000, 5), drops(2, 6)}, 8, 1},
		{"a processor appears", [][]conntrack.CPUStat{drops(10), drops(12, 900), drops(13, 901)}, 4, 0},
		{"a processor goes and comes back", [][]conntrack.CPUStat{drops(10, 20), drops(11), drops(12, 25)}, 7, 0},
		{"a processor appears during a reset", [][]conntrack.CPUStat{drops(10), drops(2, 900), drops(2, 901)}, 3, 1},
		{"an empty reading changes nothing", [][]conntrack.CPUStat{drops(10), {}, drops(12)}, 2, 0},
		{"two wraps", [][]conntrack.CPUStat{drops(top), drops(0), drops(1 << 31), drops(top), drops(1)}, 1<<32 + 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tally conntrack.CounterSum
			var got conntrack.Counters
			for _, rows := range c.readings {
				got = tally.Add(rows)
			}
			if diff := cmp.Diff(conntrack.Counters{Drop: c.want}, got); diff != "" {
				t.Errorf("Add (-want +got):\n%s", diff)
			}
			if tally.Resets() != c.resets {
				t.Errorf("Resets() = %d, want %d", tally.Resets(), c.resets)
			}
		})
	}
}

func TestTallyCountsEachCounter(t *testing.T) {
	var tally conntrack.CounterSum
	tally.Add([]conntrack.CPUStat{{}})
	got := tally.Add([]conntrack.CPUStat{{
		Entries: 99, ClashResolve: 98, Found: 97, Invalid: 96, Insert: 1, InsertFailed: 2, Drop: 3, EarlyDrop: 4,
		Error: 95, SearchRestart: 94, ChainTooLong: 5,
	}})
	want := conntrack.Counters{Insert: 1, InsertFailed: 2, Drop: 3, EarlyDrop: 4, ChainTooLong: 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Add (-want +got):\n%s", diff)
	}
}

func TestTallySeesAResetInAnyCounter(t *testing.T) {
	for name, was := range map[string]conntrack.CPUStat{
		"clash_resolve": {ClashResolve: 9}, "found": {Found: 9}, "invalid": {Invalid: 9}, "insert": {Insert: 9},
		"insert_failed": {InsertFailed: 9}, "drop": {Drop: 9}, "early_drop": {EarlyDrop: 9}, "error": {Error: 9},
		"search_restart": {SearchRestart: 9}, "chaintoolong": {ChainTooLong: 9},
	} {
		t.Run(name, func(t *testing.T) {
			var tally conntrack.CounterSum
			tally.Add([]conntrack.CPUStat{was})
			tally.Add([]conntrack.CPUStat{{}})
			if tally.Resets() != 1 {
				t.Errorf("Resets() = %d, want 1", tally.Resets())
			}
		})
	}
	t.Run("entries is no counter", func(t *testing.T) {
		var tally conntrack.CounterSum
		tally.Add([]conntrack.CPUStat{{Entries: 9}})
		tally.Add([]conntrack.CPUStat{{Entries: 3}})
		if tally.Resets() != 0 {
			t.Errorf("Resets() = %d, want 0", tally.Resets())
		}
	})
}

func TestTallyRestartCountsFromZero(t *testing.T) {
	var tally conntrack.CounterSum
	tally.Restart()
	tally.Add(drops(10))
	tally.Restart()
	tally.Restart()
	if got := tally.Add(drops(12)); got.Drop != 12 || tally.Resets() != 1 {
		t.Errorf("%d drops and %d resets, want 12 and 1", got.Drop, tally.Resets())
	}
	tally.Restart()
	tally.Add(nil)
	tally.Restart()
	if got := tally.Add(drops(1)); got.Drop != 13 || tally.Resets() != 2 {
		t.Errorf("%d drops and %d resets, want 13 and 2", got.Drop, tally.Resets())
	}
}

func TestTallyKeepsNoReference(t *testing.T) {
	rows := drops(10)
	var tally conntrack.CounterSum
	tally.Add(rows)
	rows[0].Drop = 12
	if got := tally.Add(rows); got.Drop != 2 {
		t.Errorf("Add counts %d drops, want 2: it kept the caller's rows", got.Drop)
	}
}
