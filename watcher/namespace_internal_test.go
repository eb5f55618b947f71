package watcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const uid = "2b1f8b4c-0d3e-4b8e-9d55-1c6c3a7f9e10"
	under := strings.ReplaceAll(uid, "-", "_")
	type names struct{ Container, Pod, Unit string }
	for name, c := range map[string]struct {
		text string
		want names
	}{
		"a unit of systemd":        {"0::/system.slice/nginx.service\n", names{Unit: "nginx.service"}},
		"Docker under systemd":     {"0::/system.slice/docker-" + id + ".scope\n", names{Container: id}},
		"Docker with cgroupfs":     {"12:cpu:/docker/" + id + "\n0::/\n", names{Container: id}},
		"Podman":                   {"0::/machine.slice/libpod-" + id + ".scope/container\n", names{Container: id}},
		"containerd in Kubernetes": {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope\n", names{id, uid, ""}},
		"a guaranteed pod, CRI-O":  {"0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope\n", names{id, uid, ""}},
		"Kubernetes with cgroupfs": {"4:memory:/kubepods/besteffort/pod" + uid + "/" + id + "\n", names{id, uid, ""}},
		"a unit around a cluster":  {"0::/system.slice/k3s.service/kubepods/pod" + uid + "/" + id + "\n", names{id, uid, ""}},
		"LXC":                      {"0::/lxc.payload.web/system.slice/nginx.service\n", names{Container: "web", Unit: "nginx.service"}},
		"a machine":                {"0::/machine.slice/machine-debian.scope\n", names{Unit: "machine-debian.scope"}},
		"a login":                  {"0::/user.slice/user-0.slice/session-1.scope\n", names{}},
		"a pod that is none":       {"0::/tripod/podium\n", names{}},
		"nothing":                  {"", names{}},
		"torn":                     {"0:\n::\n0::", names{}},
	} {
		t.Run(name, func(t *testing.T) {
			var got names
			got.Container, got.Pod, got.Unit = parseCgroup(c.text)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseCgroup(f *testing.F) {
	f.Add("0::/system.slice/docker-" + strings.Repeat("a", 64) + ".scope\n")
	f.Add("1:name=systemd:/kubepods/pod" + strings.Repeat("-", 36))
	f.Fuzz(func(t *testing.T, text string) {
		container, pod, unit := parseCgroup(text)
		if strings.ContainsAny(container+pod+unit, "/\n") {
			t.Errorf("%q, %q, %q", container, pod, unit)
		}
	})
}

func TestMountedNamespaces(t *testing.T) {
	const text = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
245 30 0:4 net:[4026532453] /run/netns/blue rw shared:1 - nsfs nsfs rw
246 30 0:4 net:[4026532453] /var/lib/other rw - nsfs nsfs rw
247 30 0:4 net:[4026532500] /run/docker/netns/a\040b rw shared:5 - nsfs nsfs rw
248 30 0:4 mnt:[4026532501] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
249 30 0:4 net:[x] /run/netns/bad rw - nsfs nsfs rw
250 30 0:4
251 30 0:4 / /srv/net:[4026532999] rw - tmpfs nsfs rw
`
	want := map[uint32]string{4026532453: "/run/netns/blue", 4026532500: "/run/docker/netns/a b"}
	if diff := cmp.Diff(want, mountedNamespaces([]byte(text))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzMountedNamespaces(f *testing.F) {
	f.Add([]byte("247 30 0:4 net:[4026532500] /run/docker/netns/a\\040b\\ rw shared:5 - nsfs nsfs rw\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { mountedNamespaces(text) })
}

func TestNamespaceNames(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for want, n := range map[string]Namespace{
		"blue":                   {Inode: 1, Mount: "/run/netns/blue", PID: 7, Comm: "sh", Unit: "x.service"},
		"web":                    {Inode: 1, Mount: "/run/docker/netns/1a2b", Container: id, RuntimeName: "web"},
		"container abababababab": {Inode: 1, Container: id, Unit: "x.service"},
		"x.service":              {Inode: 1, Unit: "x.service", PID: 7, Comm: "x"},
		"/srv/ns":                {Inode: 1, Mount: "/srv/ns", Comm: "x", PID: 7},
		"sh (pid 7)":             {Inode: 1, PID: 7, Comm: "sh"},
		"netns 4026532453":       {Inode: 4026532453},
	} {
		if got := n.Name(); got != want {
			t.Errorf("%+v is called %q, want %q", n, got, want)
		}
		if !n.Matches([]string{"no", want}) || n.Matches([]string{"", "no-*", "["}) {
			t.Errorf("%q: patterns do not fit", want)
		}
	}
}

func TestNamespaceHasItsRuntimeName(t *testing.T) {
	root, id := t.TempDir(), strings.Repeat("ab", 32)
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/7/comm", "nginx\n")
	write("proc/7/cgroup", "0::/system.slice/docker-"+id+".scope\n")
	write("var/lib/docker/containers/"+id+"/config.v2.json", `{"ID":"x","Name":"/web"}`)
	n := Namespace{Inode: 1, PID: 7}
	n.describe(root)
	if n.RuntimeName != "web" || n.Comm != "nginx" || n.Container != id {
		t.Errorf("%+v", n)
	}
	write("var/lib/docker/containers/"+id+"/config.v2.json", `{`)
	write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id+"/config.json",
		`{"annotations":{"io.kubernetes.cri.sandbox-name":"api-0","io.kubernetes.cri.sandbox-namespace":"prod"}}`)
	n.describe(root)
	if n.RuntimeName != "prod/api-0" {
		t.Errorf("%+v", n)
	}
}

// TestANestedContainerCannotTakeARuntimeName: whoever may make control groups, a user below its own
// manager or a container, can call one as it likes.
func TestANestedContainerCannotTakeARuntimeName(t *testing.T) {
	root, id, other := t.TempDir(), strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/7/comm", "sh\n")
	write("var/lib/docker/containers/"+id+"/config.v2.json", `{"Name":"/web"}`)
	n := Namespace{Inode: 1, PID: 7}
	for group, want := range map[string]string{
		"0::/system.slice/docker-" + id + ".scope":                                                       "web",
		"0::/docker/" + id + "/init.scope":                                                               "web",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" + id + ".scope":             "",
		"0::/system.slice/docker-" + other + ".scope/docker/" + id:                                       "",
		"0::/lxc.payload.guest/docker/" + id:                                                             "",
		"4:cpu:/docker/" + other + "/" + id + "\n1:name=systemd:/docker/" + other + "\n0::/docker/" + id: "",
		"0::/system.slice/nginx.service":                                                                 "",
	} {
		write("proc/7/cgroup", group+"\n")
		n.describe(root)
		if n.RuntimeName != want {
			t.Errorf("%s: called %q, want %q", group, n.RuntimeName, want)
		}
	}
	write("proc/7/cgroup", "0::/system.slice/nginx.service\n")
	n.describe(root)
	if n.Container != "" || n.Unit != "nginx.service" {
		t.Errorf("another process later: %+v", n)
	}
}
