package tally

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Recorded from go1.26 and cut to the fields that are read.
const (
	passing = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	skipping = `{"Action":"output","Package":"p","Test":"TestB/x","Output":"=== RUN   TestB/x\n"}
{"Action":"output","Package":"p","Test":"TestB/x","Output":"    b_test.go:7: needs CAP_NET_ADMIN to make a network namespace\n"}
{"Action":"output","Package":"p","Test":"TestB/x","Output":"    --- SKIP: TestB/x (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB/x"}
`
	failing = `{"Action":"output","Package":"p","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: count = 2, want 3\n"}
{"Action":"output","Package":"p","Test":"TestC","Output":"--- FAIL: TestC (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`
	unbuilt = `{"ImportPath":"p [p.test]","Action":"build-output","Output":"./a_test.go:3:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}
`
	panicking = `{"Action":"run","Package":"p","Test":"TestD"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: boom\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`
)

func TestRead(t *testing.T) {
	tests := map[string]struct {
		in      string
		count   string
		explain string
		out     string
	}{
		"nothing ran": {"", "0 passed, 0 failed, 0 skipped", "", ""},
		"a passed test is counted and its output is not shown": {
			passing, "1 passed, 0 failed, 0 skipped", "", "ok  \tp\t0.1s\n",
		},
		"a skipped subtest gives its reason without the position": {
			skipping, "0 passed, 0 failed, 1 skipped",
			"skipped 1: needs CAP_NET_ADMIN to make a network namespace\n", "",
		},
		"the same reason is told once": {
			skipping + strings.ReplaceAll(skipping, "TestB", "TestE"), "0 passed, 0 failed, 2 skipped",
			"skipped 2: needs CAP_NET_ADMIN to make a network namespace\n", "",
		},
		"a failed test is shown and its package is not counted again": {
			failing, "0 passed, 1 failed, 0 skipped", "failed: p.TestC\n",
			"=== RUN   TestC\n    c_test.go:9: count = 2, want 3\n--- FAIL: TestC (0.00s)\nFAIL\tp\t0.1s\n",
		},
		"a package that does not build is one failure": {
			unbuilt, "0 passed, 1 failed, 0 skipped", "failed: p\n",
			"./a_test.go:3:1: undefined: x\nFAIL\tp [build failed]\n",
		},
		"a panic without an end of its test is one failure and is shown": {
			panicking, "0 passed, 1 failed, 0 skipped", "failed: p\n", "panic: boom\nFAIL\tp\t0.1s\n",
		},
		"text between the events is passed on": {
			"go: downloading x\n", "0 passed, 0 failed, 0 skipped", "", "go: downloading x\n",
		},
		"a last line without an end is read": {
			strings.TrimSuffix(passing+skipping, "\n"), "1 passed, 0 failed, 1 skipped",
			"skipped 1: needs CAP_NET_ADMIN to make a network namespace\n", "ok  \tp\t0.1s\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var (
				counted      Tally
				out, explain strings.Builder
			)
			if err := counted.Read(strings.NewReader(tt.in), &out); err != nil {
				t.Fatal(err)
			}
			if err := counted.Explain(&explain); err != nil {
				t.Fatal(err)
			}
			got := []string{counted.String(), explain.String(), out.String()}
			if diff := cmp.Diff([]string{tt.count, tt.explain, tt.out}, got); diff != "" {
				t.Errorf("count, explanation, output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	var one, sum Tally
	if err := one.Read(strings.NewReader(passing+skipping+failing), &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	sum.Add(one)
	sum.Add(one)
	if got, want := sum.String(), "2 passed, 2 failed, 2 skipped"; got != want {
		t.Errorf("sum = %q, want %q", got, want)
	}
	if got := sum.Reasons["needs CAP_NET_ADMIN to make a network namespace"]; got != 2 {
		t.Errorf("reason counted %d times, want 2", got)
	}
}

// TestKeepTellsWhoRan: a test that one run skips and another does not has run.
func TestKeepTellsWhoRan(t *testing.T) {
	var all Tally
	for _, in := range []string{skipping, passing, strings.ReplaceAll(passing, `"Action":"pass"`, `"Action":"skip"`), failing} {
		var one Tally
		if err := one.Read(strings.NewReader(in), io.Discard); err != nil {
			t.Fatal(err)
		}
		all.Add(one)
	}
	file := filepath.Join(t.TempDir(), "count")
	if err := all.Keep(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file + ".tests")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("ran p.TestA\nran p.TestC\nskipped p.TestB/x\n", string(text)); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
}
