package arch

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestModule checks the module itself.
func TestModule(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) < 5 {
		t.Fatalf("found %d packages: this is not the root of the module", len(tree.Packages))
	}
	for _, v := range tree.Check() {
		t.Error(v)
	}
}

// TestCheck proves that each rule reports a violation and accepts a similar tree without one. Every tree has the doc.go
// that its packages need, except in the cases about doc.go.
func TestCheck(t *testing.T) {
	const docs = "policy remediate watcher internal/loop internal/conntrack internal/config cmd/ctwarden test/bench"
	tests := map[string]struct {
		path, text string
		want       []string
	}{
		"the loop may import the policy": {
			"internal/loop/loop.go", "package loop\n" + imports("policy"), nil,
		},
		"the loop may not import the watcher": {
			"internal/loop/loop.go", "package loop\n" + imports("watcher"),
			[]string{"loop.go:2: internal/loop imports github.com/ctwarden/ctwarden/watcher: no arrow leads there"},
		},
		"a test of the loop may import the simulator": {
			"internal/loop/loop_test.go", "package loop\n" + imports("internal/tablesim"), nil,
		},
		"a test may not import a command": {
			"internal/loop/loop_test.go", "package loop\n" + imports("cmd/ctwarden"),
			[]string{"loop_test.go:2: internal/loop imports github.com/ctwarden/ctwarden/cmd/ctwarden: nothing imports a command"},
		},
		"a command may import everything": {
			"cmd/ctwarden/run.go", "package main\n" + imports("watcher", "remediate", "internal/loop"), nil,
		},
		"shipped code may not import test code": {
			"watcher/kmsg.go", "package watcher\n" + imports("test/event"),
			[]string{"kmsg.go:2: watcher imports github.com/ctwarden/ctwarden/test/event: only test/ imports test/"},
		},
		"a name that begins alike is another package": {
			"watcher/kmsg.go", "package watcher\n" + imports("internal/conntrackx"),
			[]string{"kmsg.go:2: watcher imports github.com/ctwarden/ctwarden/internal/conntrackx: no arrow leads there"},
		},
		"a package without arrows is not known": {
			"internal/newcomer/doc.go", "// Package newcomer is new.\npackage newcomer\n",
			[]string{"doc.go:2: package internal/newcomer has no arrows: draw them in test/arch first"},
		},
		"a package whose name begins like a command's is none": {
			"watcher/kmsg.go", "package watcher\n" + imports("cmdline"),
			[]string{"kmsg.go:2: watcher imports github.com/ctwarden/ctwarden/cmdline: no arrow leads there"},
		},
		"viper is for the configuration": {
			"internal/config/load.go", "package config\nimport _ \"github.com/spf13/viper\"\n", nil,
		},
		"viper is for no other package": {
			"watcher/kmsg.go", "package watcher\nimport _ \"github.com/spf13/viper\"\n",
			[]string{"kmsg.go:2: watcher imports github.com/spf13/viper: only internal/config may"},
		},
		"the policy may compute": {
			"policy/level.go", "package policy\nimport (\n\"math\"\n\"time\"\n)\nvar _ = math.Sqrt\nvar _ = time.Second\n", nil,
		},
		"the policy may not read files": {
			"policy/level.go", "package policy\nimport _ \"os\"\n",
			[]string{"level.go:2: policy imports os: the package is pure"},
		},
		"what is compiled in is pure in the simulator": {
			"internal/tablesim/doc.go", "// Package tablesim is.\npackage tablesim\nimport _ \"embed\"\n", nil,
		},
		"and nowhere else": {
			"policy/level.go", "package policy\nimport _ \"embed\"\n",
			[]string{"level.go:2: policy imports embed: the package is pure"},
		},
		"net/netip is pure and net is not": {
			"internal/conntrack/entry.go", "package conntrack\nimport _ \"net/netip\"\nimport _ \"net\"\n",
			[]string{"entry.go:3: internal/conntrack imports net: the package is pure"},
		},
		"the policy may not use a library": {
			"policy/level.go", "package policy\nimport _ \"golang.org/x/sys/unix\"\n",
			[]string{"level.go:2: policy imports golang.org/x/sys/unix: the package is pure"},
		},
		"a test of the policy may read its golden files": {
			"policy/level_test.go", "package policy\nimport _ \"os\"\n", nil,
		},
		"the policy has no clock": {
			"policy/level.go", "package policy\nimport \"time\"\nfunc f() time.Time { return time.Now() }\n",
			[]string{"level.go:3: time.Now in a pure package: it comes in as a value"},
		},
		"the clock is found under another name and as a value": {
			"policy/level.go", "package policy\nimport clock \"time\"\nfunc f() func() clock.Time { return clock.Now }\n",
			[]string{"level.go:3: clock.Now in a pure package: it comes in as a value"},
		},
		"a timer is a clock": {
			"policy/level.go", "package policy\nimport \"time\"\nfunc f() { <-time.After(time.Second) }\n",
			[]string{"level.go:3: time.After in a pure package: it comes in as a value"},
		},
		"a dot import could hide the clock": {
			"policy/level.go", "package policy\nimport . \"time\"\nfunc f() Time { return Now() }\n",
			[]string{"level.go:2: dot import of time hides where a name comes from"},
		},
		"After of a time is no clock": {
			"policy/level.go", "package policy\nimport \"time\"\nfunc f(a, b time.Time) bool { return a.After(b) }\n", nil,
		},
		"a random source with a seed is pure, the global one is not": {
			"policy/level.go",
			"package policy\nimport \"math/rand/v2\"\nfunc f() int {\n_ = rand.New(rand.NewPCG(1, 2))\nreturn rand.IntN(3)\n}\n",
			[]string{"level.go:5: rand.IntN in a pure package: it comes in as a value"},
		},
		"the watcher has a clock": {
			"watcher/kmsg.go", "package watcher\nimport \"time\"\nfunc f() time.Time { return time.Now() }\n", nil,
		},
		"the watcher does not print": {
			"watcher/kmsg.go", "package watcher\nimport \"fmt\"\nfunc f() { fmt.Println(1) }\n",
			[]string{"kmsg.go:3: fmt.Println: only a command prints or exits"},
		},
		"the watcher does not exit": {
			"watcher/kmsg.go", "package watcher\nimport (\n\"log\"\n\"os\"\n)\nfunc f() {\nlog.Fatal(1)\nos.Exit(1)\n}\n",
			[]string{
				"kmsg.go:7: log.Fatal: only a command prints or exits", "kmsg.go:8: os.Exit: only a command prints or exits",
			},
		},
		"the builtin println is for debugging, in a command too": {
			"cmd/ctwarden/run.go", "package main\nfunc f() { println(1) }\n",
			[]string{"run.go:2: builtin println is for debugging"},
		},
		"a command prints and exits": {
			"cmd/ctwarden/run.go", "package main\nimport (\n\"fmt\"\n\"os\"\n)\nfunc f() {\nfmt.Println(1)\nos.Exit(1)\n}\n", nil,
		},
		"a word of the dialect": {
			"watcher/kmsg.go", "package watcher\nfunc f() { roster := 1; _ = roster }\n",
			[]string{
				`kmsg.go:2: roster: "roster" is no word of the field: name what it is`,
				`kmsg.go:2: roster: "roster" is no word of the field: name what it is`,
			},
		},
		"init runs unasked": {
			"watcher/kmsg.go", "package watcher\nfunc init() {}\n", []string{"kmsg.go:2: init runs unasked: let the caller call"},
		},
		"a method named init is asked": {
			"watcher/kmsg.go", "package watcher\ntype kmsg struct{}\nfunc (kmsg) init() {}\n", nil,
		},
		"a package needs a comment": {
			"internal/audit/record.go", "package audit\n",
			[]string{"record.go:1: package internal/audit has no package comment in doc.go"},
		},
		"a package needs no second comment": {
			"watcher/kmsg.go", "// Package watcher watches.\npackage watcher\n",
			[]string{"kmsg.go:1: package comment outside doc.go"},
		},
		"a licence above an empty line is no package comment": {
			"watcher/kmsg.go", "// Licensed to nobody.\n\npackage watcher\n", nil,
		},
		"a file is named after a noun": {
			"watcher/kmsg_helpers_test.go", "package watcher\n",
			[]string{`kmsg_helpers_test.go:1: "helpers" in the name of a file or package says nothing`},
		},
		"a type is named after what it is": {
			"watcher/kmsg.go", "package watcher\ntype kmsgManager struct{}\nfunc (kmsgManager) baseURL() {}\ntype baseline int\n",
			[]string{`kmsg.go:2: kmsgManager: "manager" says nothing`, `kmsg.go:3: baseURL: "base" says nothing`},
		},
		"a helper is a thing of the kernel, except as the name of a file": {
			"internal/conntrack/status.go", "package conntrack\nconst StatusHelper = 1 << 13\n", nil,
		},
		"a package for tests is for tests": {
			"watcher/kmsg.go", "package watcher\n" + imports("internal/ctnetlink/cttest"),
			[]string{"kmsg.go:2: watcher imports github.com/ctwarden/ctwarden/internal/ctnetlink/cttest: only tests may"},
		},
		"a test may import a package for tests": {
			"watcher/kmsg_test.go", "package watcher\n" + imports("internal/ctnetlink/cttest"), nil,
		},
		"a file of 400 lines passes": {
			"watcher/kmsg.go", "package watcher\n" + strings.Repeat("\n", 399), nil,
		},
		"a file of 401 lines is too long": {
			"watcher/kmsg.go", "package watcher\n" + strings.Repeat("//\n", 400),
			[]string{"kmsg.go:1: file of 401 lines, at most 400"},
		},
		"a function of 60 lines passes": {
			"watcher/kmsg.go", "package watcher\nfunc f() {\n" + strings.Repeat("_ = 1\n", 58) + "}\n", nil,
		},
		"a function of 61 lines is too long": {
			"watcher/kmsg.go", "package watcher\nfunc f() {\n" + strings.Repeat("_ = 1\n", 59) + "}\n",
			[]string{"kmsg.go:2: function f of 61 lines, at most 60"},
		},
		"a long test passes": {
			"watcher/kmsg_test.go", "package watcher\nfunc f() {\n" + strings.Repeat("_ = 1\n", 500) + "}\n", nil,
		},
		"errors and tables that are read are no state": {
			"watcher/kmsg.go",
			"package watcher\nimport \"errors\"\nvar ErrGone = errors.New(\"gone\")\nvar names = []string{\"a\"}\nfunc f() string { return names[0] }\n",
			nil,
		},
		"a local variable may hide a table": {
			"watcher/kmsg.go", "package watcher\nvar names = []string{\"a\"}\nfunc f() { names := names[:0]; names[0] = \"b\"; _ = &names }\n", nil,
		},
		"a counter is state": {
			"watcher/kmsg.go", "package watcher\nvar n int\nfunc f() { n++ }\n",
			[]string{"kmsg.go:3: package variable n is changed: keep state in a value"},
		},
		"a table that is written to is state": {
			"watcher/kmsg.go", "package watcher\nvar seen = map[string]bool{}\nfunc f() {\nseen[\"a\"] = true\ndelete(seen, \"a\")\n}\n",
			[]string{
				"kmsg.go:4: package variable seen is changed: keep state in a value",
				"kmsg.go:5: package variable seen is changed: keep state in a value",
			},
		},
		"a variable whose address is taken is state": {
			"watcher/kmsg.go", "package watcher\nvar c struct{ n int }\nfunc f() *int { return &c.n }\n",
			[]string{"kmsg.go:3: package variable c is changed: keep state in a value"},
		},
		"a variable that a loop assigns is state": {
			"watcher/kmsg.go", "package watcher\nvar n int\nfunc f() {\nfor n = range 3 {\n}\n}\n",
			[]string{"kmsg.go:4: package variable n is changed: keep state in a value"},
		},
		"a lock is state": {
			"watcher/kmsg.go", "package watcher\nimport \"sync\"\nvar mu sync.Mutex\n",
			[]string{"kmsg.go:3: package variable mu is state of type sync.Mutex: keep it in a value"},
		},
		"a channel is state": {
			"watcher/kmsg.go", "package watcher\nvar c = make(chan int)\n",
			[]string{"kmsg.go:2: package variable c is state of type made chan int: keep it in a value"},
		},
		"a file that no build includes is not judged": {
			"watcher/gen.go", "//go:build ignore\n\npackage main\nimport \"os\"\nfunc init() { os.Exit(1) }\n", nil,
		},
		"testdata is not judged": {
			"watcher/testdata/gen.go", "package nothing\nfunc init() {}\n", nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for dir := range strings.FieldsSeq(docs) {
				name := dir[strings.LastIndex(dir, "/")+1:]
				if strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "test/") {
					name = "main"
				}
				root[dir+"/doc.go"] = &fstest.MapFile{Data: fmt.Appendf(nil, "// Package %[1]s is.\npackage %[1]s\n", name)}
			}
			root[tt.path] = &fstest.MapFile{Data: []byte(tt.text)}
			tree, err := Load(root)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range tree.Check() {
				got = append(got, v.String()[strings.LastIndex(v.Path, "/")+1:])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCheckStaleException requires a reason for each exception.
func TestCheckStaleException(t *testing.T) {
	for name, reason := range longFiles() {
		if reason == "" {
			t.Errorf("%s is an exception without a reason", name)
		}
	}
	for name, reason := range longFunctions() {
		if reason == "" {
			t.Errorf("%s is an exception without a reason", name)
		}
	}
}

func TestLoadRefusesWhatIsNoGo(t *testing.T) {
	if _, err := Load(fstest.MapFS{"policy/level.go": {Data: []byte("package")}}); err == nil {
		t.Error("a file that does not parse was loaded")
	}
}

func TestWords(t *testing.T) {
	tests := map[string][]string{
		"netnsHelper_test": {"netns", "helper", "test"},
		"HTTPHandler":      {"httphandler"},
		"baseURL":          {"base", "url"},
		"base64":           {"base"},
		"":                 nil,
	}
	for name, want := range tests {
		if diff := cmp.Diff(want, words(name)); diff != "" {
			t.Errorf("words(%q) (-want +got):\n%s", name, diff)
		}
	}
}

// imports is an import declaration of packages of this module.
func imports(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "import _ %q\n", Module+"/"+n)
	}
	return b.String()
}
