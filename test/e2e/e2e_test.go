package main

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/test/qemu"
)

func TestReadChecks(t *testing.T) {
	const port = qemu.Mark + "ready 6.1, systemd 252\r\nnoise\n" + qemu.Mark + "ok install (3 s)\n" + qemu.Mark + "FAIL remove\n--- dpkg -r\nno\n" +
		qemu.Mark + "note 12 records\n" + qemu.Mark + "reboot"
	want := result{
		checks: []check{{name: "install", ok: true, took: 3 * time.Second}, {name: "remove", output: "--- dpkg -r\nno\n"}},
		end:    "reboot",
	}
	if diff := cmp.Diff(want, readChecks(strings.NewReader(port), io.Discard), cmp.AllowUnexported(result{}, check{})); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestReport(t *testing.T) {
	good, bad := check{name: "install", ok: true}, check{name: "remove"}
	tests := map[string]struct {
		checks []check
		end    error
		want   []string // the ends of the events of checks
		ok     bool
	}{
		"all is well":                      {[]check{good}, nil, []string{"pass install", "pass end"}, true},
		"a check failed":                   {[]check{good, bad}, nil, []string{"pass install", "fail remove", "pass end"}, false},
		"the machine ended in the middle":  {[]check{good}, errors.New("stopped"), []string{"pass install", "fail end"}, false},
		"a machine without a check failed": {nil, nil, []string{"fail end"}, false},
	}
	ended := regexp.MustCompile(`"Action":"(pass|fail)","Package":"e2e:Debian 12","Test":"([^"]*)"`)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := report(&out, "Debian 12", tt.checks, tt.end, 0)
			if err != nil || ok != tt.ok {
				t.Errorf("ok = %v, %v, want %v", ok, err, tt.ok)
			}
			var got []string
			for _, m := range ended.FindAllStringSubmatch(out.String(), -1) {
				got = append(got, m[1]+" "+m[2])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		names          []string
		systems, roots int
		ok             bool
	}{
		"no name chooses all":         {nil, 3, 2, true},
		"a system and a root":         {[]string{"12", "rpm"}, 1, 1, true},
		"a root alone boots nothing":  {[]string{"chroot"}, 0, 1, true},
		"an unknown one chooses none": {[]string{"12", "10"}, 0, 0, false},
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
