package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// An image is what packaging/Containerfile makes.
type image struct {
	root       string
	entrypoint []string
	cmd        []string
}

var instruction = regexp.MustCompile(`(?m)^([A-Z]+) (.*)$`)

// buildImage does what the file says without an engine: the command of the
// first stage on this tree, and the second stage as a directory.
func buildImage(t *testing.T) *image {
	t.Helper()
	i := &image{root: t.TempDir()}
	stage := ""
	for _, m := range instruction.FindAllStringSubmatch(read(t, root+"packaging/Containerfile"), -1) {
		switch word, rest := m[1], m[2]; {
		case word == "FROM":
			stage, _, _ = strings.Cut(rest, " ")
		case word == "RUN" && stage == "scratch":
			t.Fatalf("there is no shell to run %s", rest)
		case word == "RUN" && strings.Contains(rest, "go build"):
			build := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(rest, "-o /", "-o "+i.root+"/", 1))
			build.Dir, build.Env = root, append(os.Environ(), "VERSION=image")
			if text, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", rest, err, text)
			}
		case word == "COPY" && stage == "scratch":
			// The build above left it where it belongs.
			if rest != "--from=build /ctwarden /ctwarden" {
				t.Errorf("COPY %s", rest)
			}
		case word == "ENTRYPOINT":
			i.entrypoint = words(t, rest)
		case word == "CMD":
			i.cmd = words(t, rest)
		}
	}
	if stage != "scratch" || len(i.entrypoint) != 1 || len(i.cmd) != 1 {
		t.Fatalf("the last stage is %s, and runs %v %v", stage, i.entrypoint, i.cmd)
	}
	return i
}

// words reads the form of a command that needs no shell.
func words(t *testing.T, text string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

// A container is how a node runs an image.
type container struct {
	Root    string
	Command []string
	Env     []string
	// Mounts are directories of the node by their place in the container.
	Mounts map[string]string
	// Caps are those that are added when it is not privileged.
	Privileged bool
	Caps       []string
}

// containerEnv holds the container that the process is to become.
const containerEnv = "CTWARDEN_TEST_OPS_CONTAINER"

// become makes this process the container: its files, a /proc/sys that is
// read-only as runtimes mount it, and its capabilities.
func (c *container) become(t *testing.T) {
	t.Helper()
	must := func(what string, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("loopback", exec.Command("ip", "link", "set", "lo", "up").Run())
	must("root", unix.Mount(c.Root, c.Root, "", unix.MS_BIND, ""))
	must("proc", unix.Mount("proc", c.Root+"/proc", "proc", 0, ""))
	for at, from := range c.Mounts {
		must(at, unix.Mount(from, c.Root+at, "", unix.MS_BIND, ""))
	}
	if !c.Privileged {
		must("/proc/sys", unix.Mount(c.Root+"/proc/sys", c.Root+"/proc/sys", "", unix.MS_BIND, ""))
		must("/proc/sys", unix.Mount("", c.Root+"/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	}
	must("read-only root", unix.Mount("", c.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	must("chroot", errors.Join(unix.Chroot(c.Root), unix.Chdir("/")))
	if !c.Privileged {
		keep := map[string]int{"NET_ADMIN": unix.CAP_NET_ADMIN, "SYSLOG": unix.CAP_SYSLOG}
		for n := 0; n <= unix.CAP_LAST_CAP; n++ {
			if !slices.ContainsFunc(c.Caps, func(name string) bool { k, ok := keep[name]; return ok && k == n }) {
				_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0) // an older kernel has fewer
			}
		}
		must("no new privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}
	must("exec", unix.Exec(c.Command[0], c.Command, c.Env))
}

// containerOf reads how a manifest runs an image on a node whose directories
// are below node.
func containerOf(t *testing.T, i *image, manifest any, node string) *container {
	t.Helper()
	spec := at(t, manifest, "spec", "template", "spec")
	pod := at(t, spec, "containers", 0)
	c := &container{Root: i.root, Mounts: map[string]string{}, Command: slices.Clone(i.entrypoint)}
	for _, arg := range at(t, pod, "args").([]any) {
		c.Command = append(c.Command, arg.(string))
	}
	for _, e := range at(t, pod, "env").([]any) {
		c.Env = append(c.Env, fmt.Sprintf("%s=%s", at(t, e, "name"), at(t, e, "value")))
	}
	for _, m := range at(t, pod, "volumeMounts").([]any) {
		place := at(t, m, "mountPath").(string)
		if place == "/dev/kmsg" {
			continue // the node's, and not for a test
		}
		c.Mounts[place] = filepath.Join(node, place)
		if err := errors.Join(os.MkdirAll(c.Mounts[place], 0o755), os.MkdirAll(i.root+place, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	c.Privileged, _ = at(t, pod, "securityContext", "privileged").(bool)
	if caps, ok := at(t, pod, "securityContext", "capabilities").(map[string]any); ok {
		for _, name := range caps["add"].([]any) {
			c.Caps = append(c.Caps, name.(string))
		}
	}
	return c
}

// overlay applies the patches of a kustomization to the manifest that they are
// for: those to add or replace a value.
func overlay(t *testing.T, manifest any, kustomization map[string]any) {
	t.Helper()
	for _, p := range kustomization["patches"].([]any) {
		var changes []struct {
			Op, Path string
			Value    any
		}
		if err := yaml.Unmarshal([]byte(at(t, p, "patch").(string)), &changes); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			var path []any
			for _, name := range strings.Split(c.Path, "/")[1:] {
				if n, err := strconv.Atoi(name); err == nil {
					path = append(path, n)
				} else {
					path = append(path, strings.ReplaceAll(name, "~1", "/"))
				}
			}
			last := len(path) - 1
			if path[last] == "-" {
				list := at(t, manifest, path[:last]...).([]any)
				at(t, manifest, path[:last-1]...).(map[string]any)[path[last-1].(string)] = append(list, c.Value)
				continue
			}
			at(t, manifest, path[:last]...).(map[string]any)[path[last].(string)] = c.Value
		}
	}
}

// run starts the container; it ends with the test.
func (c *container) run(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.Root+"/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	self := exec.Command(os.Args[0], "-test.run=^"+name+"$")
	self.Env = append(os.Environ(), containerEnv+"="+string(text))
	self.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	startCmd(t, self)
	return self
}

// exec runs a command in a running container, as a probe does, and returns
// what it prints and its exit code.
func (c *container) exec(t *testing.T, running *exec.Cmd, command ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env, cmd.Dir = c.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: fmt.Sprintf("/proc/%d/root", running.Process.Pid)}
	var text []byte
	ended := make(chan error)
	go func() {
		// The thread in the container's network is not used for anything else:
		// it ends with the goroutine.
		runtime.LockOSThread()
		net, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", running.Process.Pid))
		if err == nil {
			err = errors.Join(unix.Setns(int(net.Fd()), unix.CLONE_NEWNET), net.Close())
		}
		if err == nil {
			text, err = cmd.CombinedOutput()
		}
		ended <- err
	}()
	err := <-ended
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if cmd.ProcessState == nil {
		return "", -1 // it is not a container yet
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// TestImageRunsByManifest builds the image, runs it as the manifests
// have a node run it, and asks the probes.
func TestImageRunsByManifest(t *testing.T) {
	if text := os.Getenv(containerEnv); text != "" {
		var c container
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		c.become(t)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to make a container")
	}
	i := buildImage(t)
	for mode, overlaid := range map[string]bool{"enforce": false, "observe": true} {
		t.Run(mode, func(t *testing.T) {
			manifest := any(documents(t, read(t, root+"packaging/kubernetes/base/daemonset.yaml"))[0])
			if overlaid {
				overlay(t, manifest, documents(t, read(t, root+"packaging/kubernetes/observe/kustomization.yaml"))[0])
			}
			node := t.TempDir()
			c := containerOf(t, i, manifest, node)
			config := read(t, root+"packaging/kubernetes/base/ctwarden.yaml")
			if err := os.WriteFile(filepath.Join(node, "etc/ctwarden/ctwarden.yaml"), []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
			var probe []string
			for _, word := range at(t, manifest, "spec", "template", "spec", "containers", 0, "startupProbe", "exec", "command").([]any) {
				probe = append(probe, word.(string))
			}
			daemon := c.run(t)
			eventually(t, "the start probe is content", func() bool {
				_, code := c.exec(t, daemon, probe...)
				return code == 0
			})
			eventually(t, "it has looked at the table", func() bool {
				text, code := c.exec(t, daemon, "/ctwarden", "status")
				return code == 0 && strings.Contains(text, "mode "+mode) && strings.Contains(text, "\ntable ")
			})
			// What packaging/npd/check-conntrack asks and takes apart.
			if text, code := c.exec(t, daemon, "/ctwarden", "status", "--nagios"); code != 0 || !strings.HasPrefix(text, "CONNTRACK OK - ") || !strings.Contains(text, " |") {
				t.Errorf("status --nagios: exit code %d\n%s", code, text)
			}
			if text, code := c.exec(t, daemon, "/ctwarden", "version"); code != 0 || !strings.Contains(text, "image") {
				t.Errorf("version: exit code %d\n%s", code, text)
			}
			if text, code := c.exec(t, daemon, "/ctwarden", "doctor"); code != 0 && code != 3 || !strings.Contains(text, "table") {
				t.Errorf("doctor: exit code %d\n%s", code, text)
			}
			// A ConfigMap that is edited reaches the pod that runs, which goes on with
			// the old one. It is not to be ended for a mistake in the new one.
			if err := os.WriteFile(filepath.Join(node, "etc/ctwarden/ctwarden.yaml"), []byte("mode: perhaps\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if text, code := c.exec(t, daemon, probe...); code != 0 {
				t.Errorf("the probe is not content beside a mistake in the configuration: exit code %d\n%s", code, text)
			}
			stop(t, daemon)
			if _, err := os.Stat(filepath.Join(node, "var/log/ctwarden/audit.jsonl")); err != nil {
				t.Errorf("the record does not outlive the container: %v", err)
			}
		})
	}
}
