package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/test/qemu"
)

func TestListen(t *testing.T) {
	const said = qemu.Mark + "ready 6.1, systemd 252\r\nnoise\n" + qemu.Mark + "ok install (3 s)\n" + qemu.Mark + "FAIL remove\n--- dpkg -r\n" +
		qemu.Mark + "note 12 records\n" + qemu.Mark + "reboot"
	want := story{
		ready: "6.1, systemd 252", verdicts: []verdict{{"install", true}, {"remove", false}},
		notes: []string{"12 records"}, end: "reboot",
	}
	if diff := cmp.Diff(want, listen(strings.NewReader(said), io.Discard), cmp.AllowUnexported(story{}, verdict{})); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

func TestSheet(t *testing.T) {
	good := story{verdicts: []verdict{{"install", true}}}
	tests := map[string]struct {
		told story
		err  error
		want string
		ok   bool
	}{
		"all is well":                        {good, nil, "1 passed, 0 failed, 0 skipped", true},
		"a check failed":                     {story{verdicts: []verdict{{"install", true}, {"remove", false}}}, nil, "1 passed, 1 failed, 0 skipped", false},
		"the machine ended in the middle":    {good, errors.New("stopped"), "1 passed, 1 failed, 0 skipped", false},
		"a machine that said nothing failed": {story{}, nil, "0 passed, 1 failed, 0 skipped", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var s sheet
			s.add("Debian 12", tt.told, tt.err, 0)
			if got, ok := s.total(); got != tt.want || ok != tt.ok {
				t.Errorf("total = %q, %v, want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
	if _, ok := (&sheet{}).total(); ok {
		t.Error("a sheet without a system is ok")
	}
}

func TestCell(t *testing.T) {
	c := column{told: story{verdicts: []verdict{{"twice", true}, {"twice", false}, {"once", true}}}}
	for name, want := range map[string]string{"twice": "FAIL", "once": "ok", "never": "-"} {
		if got := c.cell(name); got != want {
			t.Errorf("cell(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		names          []string
		systems, roots int
		ok             bool
	}{
		"no name chooses all":           {nil, 3, 2, true},
		"a system and a root":           {[]string{"12", "rpm"}, 1, 1, true},
		"a root alone boots nothing":    {[]string{"chroot"}, 0, 1, true},
		"an unknown one chooses nobody": {[]string{"12", "10"}, 0, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			systems, roots, err := choose(tt.names)
			if len(systems) != tt.systems || len(roots) != tt.roots || (err == nil) != tt.ok {
				t.Errorf("chose %d systems and %d roots (%v), want %d and %d", len(systems), len(roots), err, tt.systems, tt.roots)
			}
		})
	}
}
