package watcher

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A Namespace is a network namespace and its names.
type Namespace struct {
	// Inode is its number, which the kernel prints in "table full in netns N".
	Inode uint32 `json:"netns"`
	// Guessed is set if its number could not be read, which needs
	// CAP_SYS_PTRACE for other users' processes. Inode is then that of its
	// counters in procfs. The kernel allocates both from one range, so no other
	// namespace has the number.
	Guessed bool `json:"guessed,omitempty"`
	// Mount is where ip netns, Docker or another program keeps it open.
	Mount string `json:"mount,omitempty"`
	// PID is a process in it, the one with the least number when it was
	// found; Comm is the name of that process.
	PID  int    `json:"pid,omitempty"`
	Comm string `json:"comm,omitempty"`
	// Container, Pod and Unit come from the control group of that process: the
	// id of the container, the uid of the pod, the unit of systemd.
	Container string `json:"container,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Unit      string `json:"unit,omitempty"`
	// RuntimeName is the container runtime's name of the container or the pod.
	RuntimeName string `json:"called,omitempty"`
	// Entries is its number of entries at the last reading; Unread is set if
	// that reading failed.
	Entries uint64 `json:"entries"`
	Unread  bool   `json:"unread,omitempty"`
}

// ipNetns is where ip netns mounts namespaces, below /.
const ipNetns = "run/netns"

// Name is the most specific name of the namespace. It is never empty.
func (n *Namespace) Name() string {
	dir, base := path.Split(n.Mount)
	switch {
	case strings.HasSuffix(dir, "/"+ipNetns+"/"):
		return base
	case n.RuntimeName != "":
		return n.RuntimeName
	case n.Container != "":
		return "container " + n.Container[:min(12, len(n.Container))]
	case n.Unit != "":
		return n.Unit
	case n.Mount != "":
		return n.Mount
	case n.Comm != "":
		return n.Comm + " (pid " + strconv.Itoa(n.PID) + ")"
	}
	return "netns " + strconv.FormatUint(uint64(n.Inode), 10)
}

// Matches reports whether one of the patterns of path.Match matches one of the
// namespace's names. A malformed pattern matches nothing.
func (n *Namespace) Matches(patterns []string) bool {
	names := []string{
		n.Name(), path.Base(n.Mount), n.RuntimeName, n.Container, n.Pod, n.Unit, n.Comm,
		strconv.FormatUint(uint64(n.Inode), 10),
	}
	for _, pattern := range patterns {
		for _, name := range names {
			if ok, err := path.Match(pattern, name); ok && err == nil && name != "" {
				return true
			}
		}
	}
	return false
}

// describe reads the names of the namespace from its process. If the process
// has ended, the old names stay.
func (n *Namespace) describe(root string) {
	dir := filepath.Join(root, "proc", strconv.Itoa(n.PID))
	comm, err := readBounded(filepath.Join(dir, "comm"))
	if n.PID == 0 || err != nil {
		return
	}
	n.Comm, n.Container, n.Pod, n.Unit, n.RuntimeName = string(bytes.TrimSpace(comm)), "", "", "", ""
	cgroup, err := readBounded(filepath.Join(dir, "cgroup"))
	if err != nil {
		return
	}
	n.Container, n.Pod, n.Unit = parseCgroup(string(cgroup))
	if n.Container != "" && startedByHostRuntime(string(cgroup), n.Container) {
		n.RuntimeName = runtimeName(root, n.Container)
	}
}

// startedByHostRuntime reports whether a runtime of the host made the control
// group of a container. A user or another container that may make control
// groups can give them the id of any container.
func startedByHostRuntime(cgroup, id string) bool {
	for line := range strings.Lines(cgroup) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), ":/")
		for part := range strings.SplitSeq(path, "/") {
			switch container := containerID(part); {
			case part == "user.slice", container != "" && container != id:
				return false
			}
		}
	}
	return true
}

// containerID returns the id or the name of the container to which an element
// of a control group's path belongs, or "".
func containerID(part string) string {
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok {
		return name
	}
	bare := strings.TrimSuffix(part, ".scope")
	if id := bare[strings.LastIndexByte(bare, '-')+1:]; isContainerID(id) {
		return id
	}
	return ""
}

// parseCgroup finds the names in /proc/PID/cgroup: the innermost
// container, the pod around it, the innermost unit. Runtimes write the id of a
// container as a directory ("/docker/ID", "/kubepods/…/podUID/ID") or as a
// scope ("docker-ID.scope", "cri-containerd-ID.scope", "libpod-ID.scope").
func parseCgroup(text string) (container, pod, unit string) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		var c, p, u string
		for part := range strings.SplitSeq(fields[2], "/") {
			machine := strings.HasPrefix(part, "machine-") && strings.HasSuffix(part, ".scope")
			switch container := containerID(part); {
			case container != "":
				c, u = container, ""
			case podUID(part) != "":
				p = podUID(part)
			case machine, strings.HasSuffix(part, ".service"):
				u = part
			}
		}
		container, pod, unit = cmp.Or(container, c), cmp.Or(pod, p), cmp.Or(unit, u)
	}
	return container, pod, unit
}

func isContainerID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// podUID reads "podUID" or "kubepods-burstable-podUID.slice", in which systemd
// has the dashes of the UID as underscores.
func podUID(part string) string {
	part = strings.TrimSuffix(part, ".slice")
	at := strings.LastIndex(part, "pod")
	if at < 0 || at > 0 && part[at-1] != '-' {
		return ""
	}
	uid := strings.ReplaceAll(part[at+len("pod"):], "_", "-")
	if len(uid) < 32 || len(uid) > 36 || strings.Trim(uid, "0123456789abcdef-") != "" {
		return ""
	}
	return uid
}

// runtimeName reads the name of a container from the files of Docker or
// containerd, which only root can read. It returns "" without them.
func runtimeName(root, id string) string {
	var docker struct {
		Name string `json:"Name"`
	}
	if readJSON(filepath.Join(root, "var/lib/docker/containers", id, "config.v2.json"), &docker) {
		return strings.TrimPrefix(docker.Name, "/")
	}
	var oci struct {
		Annotations map[string]string `json:"annotations"`
	}
	if !readJSON(filepath.Join(root, "run/containerd/io.containerd.runtime.v2.task/k8s.io", id, "config.json"), &oci) {
		return ""
	}
	pod := oci.Annotations["io.kubernetes.cri.sandbox-name"]
	if space := oci.Annotations["io.kubernetes.cri.sandbox-namespace"]; pod != "" && space != "" {
		return space + "/" + pod
	}
	return pod
}

// maxText bounds the bytes read of a file that another program writes.
const maxText = 1 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxText))
}

func readJSON(path string, into any) bool {
	text, err := readBounded(path)
	return err == nil && json.Unmarshal(text, into) == nil
}

// mountedNamespaces reads the network namespaces that are mounted somewhere
// from the text of /proc/self/mountinfo: the last mount of each by inode. This
// needs no access to the mounts.
func mountedNamespaces(mountinfo []byte) map[uint32]string {
	found := map[uint32]string{}
	for line := range bytes.Lines(mountinfo) {
		// 245 30 0:4 net:[4026532453] /run/netns/blue rw shared:1 - nsfs nsfs rw
		if !bytes.Contains(line, []byte(" - nsfs ")) {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			continue
		}
		number, ok := bytes.CutPrefix(fields[3], []byte("net:["))
		inode, err := strconv.ParseUint(string(bytes.TrimSuffix(number, []byte("]"))), 10, 32)
		if ok && err == nil {
			where := unescape(string(fields[4]))
			if old := found[uint32(inode)]; old == "" || !strings.HasSuffix(path.Dir(old), ipNetns) {
				found[uint32(inode)] = where
			}
		}
	}
	return found
}

// unescape replaces the kernel's escapes of spaces and the like in a path
// (mangle in fs/seq_file.c): a backslash and three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
