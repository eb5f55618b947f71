package watcher_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// needRuntime runs the test once more in a mount namespace of its own, which
// has a pure cgroup2, and returns the program of a container runtime there. In
// the process that was started first it returns "": the test is over.
func needRuntime(t *testing.T) string {
	t.Helper()
	needNetNS(t)
	program := ""
	for _, name := range []string{"crun", "runc"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	if program == "" || !capable(t, capSysAdmin) {
		t.Skip("needs root and a container runtime (Debian package crun or runc)")
	}
	if !insideMounts(t) {
		return ""
	}
	for dir, kind := range map[string]string{"/sys/fs/cgroup": "cgroup2", "/run": "tmpfs"} {
		if err := unix.Mount("none", dir, kind, 0, ""); err != nil {
			t.Skipf("needs a host on which %s can be mounted: %v", kind, err)
		}
	}
	return program
}

// startContainer has the runtime start a process in a network namespace and a
// control group of its own, from the directory in which containerd keeps such
// a container of Kubernetes.
func startContainer(t *testing.T, program, id, group string, notes map[string]string) {
	t.Helper()
	bundle := filepath.Join("/run/containerd/io.containerd.runtime.v2.task/k8s.io", id)
	root := filepath.Join(bundle, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	text, err := json.Marshal(object{
		"ociVersion": "1.0.2", "annotations": notes, "root": object{"path": "root"},
		"process": object{"args": []string{"/bin/sleep", "600"}, "cwd": "/", "user": object{"uid": 0, "gid": 0}},
		"mounts":  []object{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux": object{
			"cgroupsPath": filepath.Join(group, id),
			"namespaces":  []object{{"type": "network"}, {"type": "mount"}, {"type": "pid"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	complaints := filepath.Join(bundle, "complaints")
	errs, err := os.Create(complaints)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	run := exec.Command(program, "run", "--detach", "--bundle", bundle, id)
	run.Stderr = errs // a pipe would be the container's as well, and never end
	if err := run.Run(); err != nil {
		output, _ := os.ReadFile(complaints)
		t.Skipf("needs a host on which %s can run: %v: %s", program, err, output)
	}
	t.Cleanup(func() { stopContainer(t, program, id, group) })
}

func stopContainer(t *testing.T, program, id, group string) {
	t.Helper()
	if text, err := exec.Command(program, "delete", "--force", id).CombinedOutput(); err != nil {
		t.Errorf("%s delete: %v\n%s", program, err, text)
	}
	for dir := filepath.Join("/sys/fs/cgroup", group); dir != "/sys/fs/cgroup"; dir = filepath.Dir(dir) {
		_ = os.Remove(dir) // or another container is in it
	}
}

// TestKnownNamesAContainerOfARealRuntime has a container runtime start a pod's
// container, without an engine: what names it is what the kernel tells of its
// control group, and the runtime's own configuration.
func TestKnownNamesAContainerOfARealRuntime(t *testing.T) {
	program := needRuntime(t)
	if program == "" {
		return
	}
	const uid = "8d5b0a6c-1111-2222-3333-444455556666"
	web, plain := strings.Repeat("ab01", 16), strings.Repeat("cd23", 16)
	startContainer(t, program, web, "/kubepods/burstable/pod"+uid, map[string]string{
		"io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop",
	})
	startContainer(t, program, plain, "/docker", nil)
	r := newKnown(t)
	found := map[string]uint32{}
	for _, n := range r.All() {
		if n.Container == "" {
			continue
		}
		found[n.Name()] = n.Inode
		if n.Container == web && (n.Pod != uid || !n.Matches([]string{"shop/*"}) || n.Matches([]string{"nobody"})) {
			t.Errorf("the container of a pod is %+v", n)
		}
	}
	if found["shop/web-0"] == 0 || found["container "+plain[:12]] == 0 {
		t.Fatalf("found %v, want shop/web-0 and container %s", found, plain[:12])
	}
	ns, err := r.Open(found["shop/web-0"])
	if err != nil {
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 40, cttest.Assured())
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if s := r.Sweep(40); !slices.ContainsFunc(s.Full, func(n watcher.Namespace) bool { return n.Name() == "shop/web-0" && n.Entries == 40 }) {
		t.Errorf("sweep %+v", s)
	}
}

// TestKnownNamesANamespaceOfIPNetns uses the program that people use.
func TestKnownNamesANamespaceOfIPNetns(t *testing.T) {
	needNetNS(t)
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs the program ip (Debian package iproute2)")
	}
	name := "ctwarden-known-" + strconv.Itoa(os.Getpid())
	if text, err := exec.CommandContext(t.Context(), ip, "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("needs a host on which ip netns add works: %s", text)
	}
	remove := func() {
		if text, err := exec.Command(ip, "netns", "delete", name).CombinedOutput(); err != nil {
			t.Errorf("ip netns delete: %s", text)
		}
	}
	ns, err := netns.Open(filepath.Join("/run/netns", name))
	if err != nil {
		remove()
		t.Fatal(err)
	}
	cttest.Fill(t, ns, 30, cttest.Assured())
	inode := ns.Inode()
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	r := newKnown(t)
	r.Sweep(0)
	n, here := r.Lookup(inode)
	if !here || n.Name() != name || n.Entries != 30 || n.Unread {
		t.Errorf("knows %+v, %t, want %s with 30 entries", n, here, name)
	}
	remove()
	if err := r.Search(); err != nil {
		t.Fatal(err)
	}
	if n, here := r.Lookup(inode); here || n.Name() != name {
		t.Errorf("after ip netns delete it is %q, %t, want %q, gone", n.Name(), here, name)
	}
}
