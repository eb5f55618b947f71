package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
)

// FuzzLoad looks for a text that panics, that gives a configuration which is
// not valid or is shown as another one, or whose error is not a list of
// printable problems.
func FuzzLoad(f *testing.F) {
	var reference bytes.Buffer
	if err := Reference(&reference); err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{
		"", "#", "---\n", "mode: observe", "mode: on\nlease: {calm: 10}", "restore_after: {calm: 10}", "levels:\n  high:\n    enter: 86.5%\n",
		"a: &a [x]\nb: [*a, *a]", "protect: {cidr: ['::/0'], ports: [1-2], marks: [0x1/0x3], zones: [1]}", "<<: {}", "? [a]\n: b",
		"mode: !!str observe", "levels.high.enter: 1%", "- a", "a\n---\nb", "\ttab", "\xff", "{", "mode: >\n  observe\n", "%YAML 1.1\n---\n",
		"state: {dir: \"/a\\u2028b\"}", reference.String(),
	} {
		f.Add([]byte(text), "MODE=observe", "restore_after.calm", "2m")
		f.Add([]byte(text), "X=\x1b", "x", "")
	}
	f.Fuzz(func(t *testing.T, text []byte, variable, flag, value string) {
		c, err := load(text, Source{
			Path: "f", Environ: []string{variablePrefix + variable}, Flags: map[string]string{flag: value},
		}, nil)
		if err != nil {
			checkError(t, c, err)
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("not valid: %v", err)
		}
		var shown bytes.Buffer
		if err := c.Show(&shown); err != nil {
			t.Fatal(err)
		}
		again, err := load(shown.Bytes(), Source{Path: "f"}, nil)
		if err != nil {
			t.Fatalf("shown as what is not taken: %v\n%s", err, shown.Bytes())
		}
		if changes := Diff(*c, *again); len(changes) > 0 {
			t.Fatalf("shown as something else: %v", changes)
		}
	})
}

func checkError(t *testing.T, c *Config, err error) {
	t.Helper()
	if c != nil {
		t.Error("a configuration and an error")
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("%v is no list of problems", err)
	}
	for i, p := range ps {
		if p.Found == "" || p.Origin == (Origin{}) || i > 0 && p.Origin.compare(ps[i-1].Origin) < 0 {
			t.Errorf("%+v says too little, or stands in the wrong place", p)
		}
	}
	unprintable := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if text := err.Error(); strings.ContainsFunc(text, unprintable) || strings.Count(text, "\n") != len(ps)-1 {
		t.Errorf("the error is not one printable line for each problem: %q", text)
	}
}
