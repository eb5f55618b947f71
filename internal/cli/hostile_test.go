package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// writeHostile writes a log in which every text that comes from outside is the
// same. It returns the log's path.
func writeHostile(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "audit.jsonl")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	id, moment := "INC-"+text, "1h0m"
	table := map[string]any{"entries": 900, "max": 1000, "netns": 7, "buckets": 1000}
	for _, r := range []struct {
		kind    record.Kind
		payload map[string]any
	}{
		{record.KindStart, map[string]any{"version": text, "kernel": text, "boot_id": text, "mode": text, "text": text}},
		{record.KindConfig, map[string]any{"digest": text, "limits": map[string]any{"mode": text}, "error": text, "text": text}},
		{record.KindIncidentOpen, map[string]any{"incident": id, "netns": 7, "netns_name": text, "moment": moment, "entries": 900, "max": 1000, "text": text}},
		{record.KindSignal, map[string]any{"incident": id, "netns": 7, "count": 1, "source": text, "text": text}},
		{record.KindPlan, map[string]any{
			"incident": id, "netns": 7, "level": "high", "cause": "load", "limits": text, "text": text,
			"observation": map[string]any{"now": moment, "table": table}, "actions": []any{map[string]any{"type": "raise_max", "from": 1, "to": 2, "reason": "full_soon"}},
		}},
		{record.KindOutcome, map[string]any{"incident": id, "action": map[string]any{"type": "raise_max"}, "error": text, "note": text, "text": text}},
		{record.KindHold, map[string]any{"incident": id, "netns": 7, "level": "high", "held": text, "text": text}},
		{record.KindOverride, map[string]any{"netns": 7, "type": "raise_max", "likely": text, "text": text}},
		{record.KindGap, map[string]any{"reason": "damaged", "bytes": 1, "file": text, "error": text}},
		{record.KindPause, map[string]any{"reason": text}},
		{record.KindCensus, map[string]any{"incident": id, "netns": 7, "seen": 1, "top": text, "text": text}},
		{record.KindLevel, map[string]any{"incident": text, "netns": 8, "level": text, "text": text}},
		{record.KindIncidentClose, map[string]any{"incident": id, "netns": 7, "moment": "1h1m", "text": text}},
	} {
		fields, err := json.Marshal(r.payload)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := log.Append(&record.Other{Name: r.kind, JSON: fields}); err != nil {
			// A payload longer than a line is refused: the next one may fit.
			tb.Logf("%s: %v", r.kind, err)
		}
	}
	if err := log.Close(); err != nil {
		tb.Fatal(err)
	}
	// What no log writes, as somebody may append it.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.WriteString(text + "\n{\"seq\":" + text + "}\n"); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// checkEscaped fails if a text could steer a terminal, begin a line of its own or
// hide what it says.
func checkEscaped(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s: not UTF-8", what)
	}
	for _, c := range text {
		if c != '\n' && c != '\t' && unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) {
			t.Fatalf("%s: character %U in it", what, c)
		}
	}
}

// FuzzHostileTextIsEscaped has every command that reads a log read one
// full of what somebody else wrote.
// pageOf returns the report, as a page, of a log that holds text wherever it can.
func pageOf(tb testing.TB, text string) string {
	tb.Helper()
	page := filepath.Join(tb.TempDir(), "report.html")
	var out bytes.Buffer
	Main(tb.Context(), "dev", []string{"incident", "report", "last", "-o", page, "--log", writeHostile(tb, text)}, strings.NewReader(""), &out, &out)
	got, err := os.ReadFile(page)
	if err != nil {
		tb.Fatalf("%v: %s", err, &out)
	}
	return string(got)
}

func FuzzHostileTextIsEscaped(f *testing.F) {
	for _, text := range []string{
		"plain", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe\u2066\u200f\u061c", "a\r\nINC-FORGED  2026-11-20", "\u009b31m\u0085\u2028\u2029",
		"</title></td><script>alert(1)</script><!--", "`rm -rf` | $(reboot) [x](javascript:1) ``` \n# title", "\xff\xfe\x80", "\x00\x7f\ufeff\u200b\U000e0001",
		strings.Repeat("A\x1b", 32<<10), strings.Repeat("\u202e", 4<<10), `","prev":"`, `{"seq":1,"time":"`,
	} {
		f.Add(text)
	}
	// What a page of a harmless log holds, such as ">", may be in any.
	usual := pageOf(f, "plain")
	f.Fuzz(func(t *testing.T, text string) {
		path := writeHostile(t, text)
		page := filepath.Join(t.TempDir(), "report")
		for _, line := range [][]string{
			{"incident", "list"}, {"incident", "list", "--json"}, {"incident", "show", "last"}, {"incident", "show", text}, {"incident", "report", "last"},
			{"incident", "report", "last", "-o", page + ".html"}, {"incident", "report", "last", "-o", page + ".md"}, {"incident", "report", "last", "--json"},
			{"audit", "show"}, {"audit", "show", "--json"}, {"audit", "tail"}, {"audit", "verify"}, {"audit", "verify", "--json"},
			{"replay", "last"}, {"recommend", "--incident", "last"}, {"recommend", "--incident", "last", "--json"},
		} {
			var out, said bytes.Buffer
			Main(t.Context(), "dev", append(line, "--log", path), strings.NewReader(""), &out, &said)
			what := strings.Join(line[:2], " ")
			checkEscaped(t, what, out.String())
			checkEscaped(t, what+", its complaints", said.String())
		}
		for _, form := range []string{".html", ".md"} {
			got, err := os.ReadFile(page + form)
			if err != nil {
				continue // there is no report of such a log
			}
			checkEscaped(t, form, string(got))
			if form == ".html" && strings.ContainsAny(text, "<>") && !strings.Contains(usual, text) && strings.Contains(string(got), text) {
				t.Errorf("a page holds %q as it is", text)
			}
		}
	})
}
