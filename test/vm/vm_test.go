package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/test/qemu"
)

const passingOutput = markTest + "=== RUN   TestA\n" + markTest + "--- PASS: TestA (0.00s)\n" + markTest + "PASS\n"

func TestReadResults(t *testing.T) {
	const begin, end, done = qemu.Mark + "begin watcher\n", qemu.Mark + "end 0 watcher\n", qemu.Mark + "done \n"
	tests := map[string]struct {
		port string
		want []result
		err  string
	}{
		"a job ends and the guest is done": {
			port: begin + "hello\n" + end + done,
			want: []result{{job: "watcher", ended: true, output: []byte("hello\n")}},
		},
		"carriage returns are no part of a message": {
			port: strings.ReplaceAll(begin+end+done, "\n", "\r\n"),
			want: []result{{job: "watcher", ended: true}},
		},
		"a job fails with its status": {
			port: begin + qemu.Mark + "end 2 watcher\n" + done,
			want: []result{{job: "watcher", ended: true, status: 2}},
		},
		"the machine ends in the middle of a job": {
			port: begin + "hel",
			want: []result{{job: "watcher", output: []byte("hel\n")}},
			err:  "the guest ended before it was done",
		},
		"the machine ends after the last job and before the guest is done": {
			port: begin + end,
			want: []result{{job: "watcher", ended: true}},
			err:  "the guest ended before it was done",
		},
		"the end of another job is not this one's": {
			port: begin + qemu.Mark + "end 0 remediate\n" + done,
			want: []result{{job: "watcher"}},
		},
		"the port is empty":                  {port: "", err: "the guest ended before it was done"},
		"the guest reports why it gives up":  {port: qemu.Mark + "fail " + "load nf_tables: no such file\n", err: "load nf_tables: no such file"},
		"done after giving up is not enough": {port: qemu.Mark + "fail " + "x\n" + done, err: "x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readResults(strings.NewReader(tt.port), io.Discard)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(result{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if text := fmt.Sprint(err); text != tt.err && (err != nil || tt.err != "") {
				t.Errorf("error = %q, want %q", text, tt.err)
			}
		})
	}
}

func TestReport(t *testing.T) {
	const (
		start = `{"Action":"start","Package":"6.1:watcher"}` + "\n"
		pass  = start + `{"Action":"run","Package":"6.1:watcher","Test":"TestA"}
{"Action":"output","Package":"6.1:watcher","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"6.1:watcher","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"6.1:watcher","Test":"TestA"}
{"Action":"output","Package":"6.1:watcher","Output":"PASS\n"}
{"Action":"pass","Package":"6.1:watcher"}
`
		passed = `{"Action":"run","Package":"6.1:machine","Test":"end"}
{"Action":"pass","Package":"6.1:machine","Test":"end"}
{"Action":"pass","Package":"6.1:machine"}
`
		stopped = `{"Action":"run","Package":"6.1:machine","Test":"end"}
{"Action":"output","Package":"6.1:machine","Test":"end","Output":"stopped\n"}
{"Action":"fail","Package":"6.1:machine","Test":"end"}
{"Action":"fail","Package":"6.1:machine"}
`
	)
	failed := func(why string) string {
		return start + `{"Action":"output","Package":"6.1:watcher","Output":"` + why + `\n"}` + "\n" + `{"Action":"fail","Package":"6.1:watcher"}` + "\n"
	}
	tests := map[string]struct {
		job  job
		in   column
		want string
		ok   bool
	}{
		"tests passed": {
			job{Name: "watcher", Events: true}, column{results: []result{{"watcher", true, 0, []byte(passingOutput)}}}, pass + passed, true,
		},
		"all passed and the machine failed": {
			job{Name: "watcher", Events: true},
			column{results: []result{{"watcher", true, 0, []byte(passingOutput)}}, err: errors.New("stopped")}, pass + stopped, false,
		},
		"the job never ran": {
			job{Name: "watcher", Events: true}, column{results: []result{{"remediate", true, 0, nil}}}, failed("not run") + passed, false,
		},
		"a program passed": {
			job{Name: "drill"}, column{results: []result{{"drill", true, 0, []byte("hello\n")}}},
			`{"Action":"run","Package":"6.1:machine","Test":"drill"}
{"Action":"output","Package":"6.1:machine","Test":"drill","Output":"hello\n\n"}
{"Action":"pass","Package":"6.1:machine","Test":"drill"}
` + passed, true,
		},
		"a program failed": {
			job{Name: "drill"}, column{results: []result{{"drill", true, 1, nil}}},
			`{"Action":"run","Package":"6.1:machine","Test":"drill"}
{"Action":"output","Package":"6.1:machine","Test":"drill","Output":"exit status 1\n"}
{"Action":"fail","Package":"6.1:machine","Test":"drill"}
` + passed, false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			tt.in.kernel = "6.1"
			ok, err := tt.in.report(&out, []job{tt.job})
			if err != nil || ok != tt.ok {
				t.Errorf("ok = %v, %v, want %v", ok, err, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	failing := []byte(strings.Replace(passingOutput, "--- PASS", "--- FAIL", 1))
	tests := map[string]struct {
		job  job
		in   result
		want string
	}{
		"tests passed":                       {job{Events: true}, result{"watcher", true, 0, []byte(passingOutput)}, ""},
		"nothing ran":                        {job{Events: true}, result{"watcher", true, 0, nil}, "no test ran"},
		"no test was selected":               {job{Events: true, narrowed: true}, result{"watcher", true, 0, nil}, ""},
		"the job was not built":              {job{unbuilt: errors.New("undefined: x")}, result{}, "undefined: x"},
		"a panic in a job":                   {job{Events: true}, result{"watcher", false, 0, nil}, "did not end"},
		"a status without a failed test":     {job{Events: true}, result{"watcher", true, 2, []byte(passingOutput)}, "exit status 2"},
		"a failed test and status 0":         {job{Events: true}, result{"watcher", true, 0, failing}, "exit status 0 in spite of a failed test"},
		"a program passes by its status":     {job{}, result{"drill", true, 0, failing}, ""},
		"a program that ended with status 1": {job{}, result{"drill", true, 1, nil}, "exit status 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.job.failure(tt.in); got != tt.want {
				t.Errorf("failure = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestChooseKernels(t *testing.T) {
	all, err := chooseKernels(nil)
	if err != nil || len(all) != 4 {
		t.Errorf("no name chose %d kernels (%v), want 4", len(all), err)
	}
	some, err := chooseKernels([]string{"6.1", "5.10"})
	if err != nil || len(some) != 2 || some[0].name != "6.1" || some[1].name != "5.10" {
		t.Errorf("chose %v (%v), want 6.1 and 5.10 in this order", some, err)
	}
	if _, err := chooseKernels([]string{"6.1", "4.4"}); err == nil {
		t.Error("an unknown kernel was chosen")
	}
}

func TestDependencies(t *testing.T) {
	const depends = `linux-image-7.2.13+deb14-cloud-amd64
  PreDepends: linux-base
 |Depends: dracut
  Depends: <linux-initramfs-tool>
  Depends: linux-base-7.2.13+deb14-cloud-amd64
  Depends: linux-binary-7.2.13+deb14-cloud-amd64
  Depends: linux-modules-7.2.13+deb14-cloud-amd64
  Suggests: linux-modules-9
`
	want := []string{"linux-base-7.2.13+deb14-cloud-amd64", "linux-binary-7.2.13+deb14-cloud-amd64", "linux-modules-7.2.13+deb14-cloud-amd64"}
	if diff := cmp.Diff(want, dependencies(depends, "linux-(base|binary|modules)-[0-9]")); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
	if got := dependencies("linux-image-cloud-amd64\n", "linux-image-[0-9]"); got != nil {
		t.Errorf("no dependency gave %q", got)
	}
}

// TestFind has the places of the kernel and its modules on Debian 12, 13 and later.
func TestFind(t *testing.T) {
	tests := map[string][]string{
		"Debian 12": {"boot/vmlinuz-6.1", "lib/modules/6.1/modules.builtin"},
		"Debian 13": {"boot/vmlinuz-6.12", "usr/lib/modules/6.12/modules.builtin"},
		"later":     {"usr/lib/modules/7.2/vmlinuz", "usr/lib/modules/7.2/modules.builtin"},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, f := range files {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			image, modules, _, err := find(root)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{image, filepath.Join(modules, "modules.builtin")}
			want := []string{filepath.Join(root, files[0]), filepath.Join(root, files[1])}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("kernel and modules (-want +got):\n%s", diff)
			}
		})
	}
	if _, _, _, err := find(t.TempDir()); err == nil {
		t.Error("an empty package has a kernel")
	}
}

func TestParseDepends(t *testing.T) {
	tests := map[string][]string{
		"license=GPL\x00depends=nf-conntrack,libcrc32c\x00name=nf_nat\x00": {"nf_conntrack", "libcrc32c"},
		"license=GPL\x00depends=\x00":                                      nil,
		"":                                                                 nil,
	}
	for info, want := range tests {
		if diff := cmp.Diff(want, parseDepends([]byte(info))); diff != "" {
			t.Errorf("depends of %q (-want +got):\n%s", info, diff)
		}
	}
}

func TestResolveRefusesAKernelWithoutConntrack(t *testing.T) {
	_, err := resolve(func(string) ([]byte, bool, error) { return nil, false, nil })
	if err == nil {
		t.Error("a kernel without any module was accepted")
	}
	order, err := resolve(func(string) ([]byte, bool, error) { return nil, true, nil })
	if err != nil || len(order) != 0 {
		t.Errorf("a kernel with everything built in: %v, %v, want no module to load", order, err)
	}
}

func TestModuleName(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/net/netfilter/nf_tables.ko":         "nf_tables",
		"kernel/arch/x86/crypto/crc32c-intel.ko.xz": "crc32c_intel",
	} {
		if got := moduleName(path); got != want {
			t.Errorf("moduleName(%q) = %q, want %q", path, got, want)
		}
	}
}

// TestCpio has the archive read by cpio itself, which is stricter than it is common.
func TestCpio(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("needs cpio to read an archive")
	}
	var archive bytes.Buffer
	c := cpioWriter{w: &archive, dirs: map[string]bool{}}
	for _, err := range []error{
		c.file("src/watcher/testdata/kmsg", []byte("hello")), c.file("src/watcher/a", nil), c.file("init", []byte{1, 2, 3, 4}),
		c.close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(cpio, "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &archive
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, want := range map[string]string{"src/watcher/testdata/kmsg": "hello", "src/watcher/a": "", "init": "\x01\x02\x03\x04"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
}

// TestKernelFacingPackagesAreListed finds the packages whose tests make a network namespace.
func TestKernelFacingPackagesAreListed(t *testing.T) {
	facing := []string{"github.com/ctwarden/ctwarden/internal/netns", "github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"}
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir // Caches.
		}
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel("../..", filepath.Dir(name))
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			if slices.Contains(facing, strings.Trim(spec.Path.Value, `"`)) && !slices.Contains(kernelPackages(), pkg) {
				t.Errorf("the tests of %s make a network namespace: add it to kernelPackages", pkg)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
