package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// kernelPackages are the packages whose tests meet the kernel, in the order of the table. This is the only list: a test
// compares it with the packages whose tests make a network namespace.
func kernelPackages() []string {
	return []string{
		"internal/netns", "internal/ctnetlink", "internal/sandbox", "watcher", "remediate", "internal/doctor", "internal/agent", "internal/cli",
	}
}

// drillSource is the file that, once it exists, makes `ctwarden drill --host-wide` part of the suite.
const drillSource = "internal/cli/drill.go"

// A suite is what runs in each machine: the program that is init there, and the jobs.
type suite struct {
	init string
	jobs []job
}

// A job is one program that the guest runs. Exported fields travel to the guest.
type job struct {
	Name string
	Argv []string
	Dir  string
	// Events is set for a test binary, whose output test2json understands. Any other program just passes or fails.
	Events bool

	binary, testdata string
	// unbuilt is why there is no binary: the job fails on every kernel and the others still run. Nil: there is one.
	unbuilt error
	// narrowed is set when only some tests were selected, which may be none of this package.
	narrowed bool
}

// buildSuite builds everything as static binaries below bin. only narrows the tests and, like go test -run, leaves the
// programs that are not tests out.
func buildSuite(ctx context.Context, root, bin, only string) (suite, error) {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return suite{}, err
	}
	s := suite{init: filepath.Join(bin, "init")}
	if err := goBuild(ctx, root, "build", s.init, "./test/vm"); err != nil {
		return suite{}, err
	}
	for _, p := range kernelPackages() {
		tests, err := filepath.Glob(filepath.Join(root, p, "*_test.go"))
		if err != nil {
			return suite{}, err
		}
		if len(tests) == 0 {
			fmt.Printf("vm: %s has no tests\n", p)
			continue
		}
		j := testJob(root, bin, p, only)
		s.add(j, goBuild(ctx, root, "test", j.binary, "./"+p))
	}
	if _, err := os.Stat(filepath.Join(root, drillSource)); err == nil && only == "" {
		j := job{
			Name: "ctwarden drill", Argv: []string{"/bin/ctwarden", "drill", "--host-wide"}, Dir: "/",
			binary: filepath.Join(bin, "ctwarden"),
		}
		s.add(j, goBuild(ctx, root, "build", j.binary, "./cmd/ctwarden"))
	}
	if only == "" {
		j := job{Name: "test/model", Argv: []string{"/bin/model"}, Dir: "/", binary: filepath.Join(bin, "model")}
		s.add(j, goBuild(ctx, root, "build", j.binary, "./test/model"))
	}
	if len(s.jobs) == 0 {
		return suite{}, errors.New("no kernel-facing package has tests")
	}
	return s, nil
}

// add takes a job and how its build ended.
func (s *suite) add(j job, build error) {
	j.unbuilt = build
	s.jobs = append(s.jobs, j)
}

func testJob(root, bin, p, only string) job {
	name := strings.ReplaceAll(p, "/", "-") + ".test"
	j := job{
		Name:   p,
		Argv:   []string{"/bin/" + name, "-test.v=test2json", "-test.short", "-test.timeout=10m"},
		Dir:    path.Join("/src", p),
		Events: true,
		binary: filepath.Join(bin, name),
	}
	if only != "" {
		j.Argv, j.narrowed = append(j.Argv, "-test.run="+only), true
	}
	if data := filepath.Join(root, p, "testdata"); isDirectory(data) {
		j.testdata = data
	}
	return j
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// goBuild builds a package or, when verb is "test", its test binary. CGO_ENABLED=0 makes it static: there is no C
// library in the machine.
func goBuild(ctx context.Context, root, verb, output, pkg string) error {
	args := []string{verb, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", output}
	if verb == "test" {
		args = append(args, "-c")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w\n%s", verb, pkg, err, out)
	}
	return nil
}
