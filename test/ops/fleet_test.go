package ops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ctwarden/ctwarden/internal/config"
)

// documents reads every document of a YAML file.
func documents(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var d map[string]any
		err := decoder.Decode(&d)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
}

// at follows names and numbers into a document.
func at(t *testing.T, d any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := d.(map[string]any)
			if !ok {
				t.Fatalf("no %v in %v", step, d)
			}
			d = m[step]
		case int:
			l, ok := d.([]any)
			if !ok || step >= len(l) {
				t.Fatalf("no item %d in %v", step, d)
			}
			d = l[step]
		}
	}
	return d
}

func TestDaemonSetPrivileges(t *testing.T) {
	pod := at(t, documents(t, read(t, root+"packaging/kubernetes/base/daemonset.yaml"))[0], "spec", "template", "spec")
	for name, want := range map[string]any{
		"hostNetwork": true, "hostPID": nil, "hostIPC": nil, "automountServiceAccountToken": false, "priorityClassName": "system-node-critical",
	} {
		if got := at(t, pod, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	container := at(t, pod, "containers", 0)
	for _, probe := range []string{"startupProbe", "livenessProbe"} {
		if got := fmt.Sprint(at(t, container, probe, "exec", "command")); got != "[/ctwarden metrics]" {
			t.Errorf("%s asks %s", probe, got)
		}
	}
	// What the program writes must outlive the pod.
	mounts := fmt.Sprint(at(t, container, "volumeMounts"))
	c := config.Default()
	for _, dir := range []string{c.State.Dir, filepath.Dir(c.Audit.Path), filepath.Dir(c.Control.Socket), filepath.Dir(config.DefaultPath)} {
		if !strings.Contains(mounts, "mountPath:"+dir) {
			t.Errorf("%s is not mounted", dir)
		}
	}
	_, err := config.Load(config.Source{Path: root + "packaging/kubernetes/base/ctwarden.yaml", Explicit: true})
	if err != nil {
		t.Error(err)
	}
}

func TestKustomizeBuildsBothOverlays(t *testing.T) {
	for overlay, privileged := range map[string]bool{"base": true, "observe": false} {
		// What is said of downloads goes to standard error.
		text, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile="+root+"tools/kustomize.mod", "kustomize", "build",
			root+"packaging/kubernetes/"+overlay).Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", overlay, err, text)
			continue
		}
		for _, d := range documents(t, string(text)) {
			if d["kind"] != "DaemonSet" {
				continue
			}
			container := at(t, d, "spec", "template", "spec", "containers", 0)
			if got := at(t, container, "securityContext", "privileged"); got != privileged {
				t.Errorf("%s: privileged is %v", overlay, got)
			}
			if observes := strings.Contains(fmt.Sprint(at(t, container, "env")), "name:CTWARDEN_MODE value:observe"); observes == privileged {
				t.Errorf("%s: observes is %v", overlay, observes)
			}
		}
	}
}

func TestNodeProblemDetectorPlugin(t *testing.T) {
	const script = root + "packaging/npd/check-conntrack"
	for name, c := range map[string]struct {
		says string
		code int
		args []string
		want int
		line string
	}{
		"a calm table is no problem":             {"CONNTRACK OK - calm | entries=1", 0, nil, 0, "OK - calm\n"},
		"a warning is none by default":           {"CONNTRACK WARNING - elevated | entries=1", 1, nil, 0, "WARNING - elevated\n"},
		"a warning is one where it is asked for": {"CONNTRACK WARNING - elevated | entries=1", 1, []string{"--warnings"}, 1, "WARNING - elevated\n"},
		"a full table is a problem":              {"CONNTRACK CRITICAL - exhausted | entries=1", 2, nil, 1, "CRITICAL - exhausted\n"},
		"unknown is unknown":                     {"CONNTRACK UNKNOWN - no", 3, nil, 2, "UNKNOWN - no\n"},
		"no program is unknown":                  {"", 127, nil, 2, "no output from ctwarden\n"},
		"a long line is cut to 80 letters":       {"CONNTRACK OK - " + strings.Repeat("x", 200), 0, nil, 0, "OK - " + strings.Repeat("x", 75) + "\n"},
	} {
		fake := filepath.Join(t.TempDir(), "ctwarden")
		text := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = 'status --nagios' ] || exit 99\nprintf '%%s\\n' '%s'\nexit %d\n", c.says, c.code)
		if err := os.WriteFile(fake, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(script, c.args...)
		cmd.Env = append(os.Environ(), "CTWARDEN="+fake)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != c.want || string(out) != c.line {
			t.Errorf("%s: exit %d, %q; want %d, %q", name, code, out, c.want, c.line)
		}
	}
	var monitor struct {
		PluginConfig struct {
			Timeout  string
			OnChange bool `json:"enable_message_change_based_condition_update"`
		}
		Conditions []struct{ Type string }
		Rules      []struct{ Type, Condition, Path string }
	}
	if err := json.Unmarshal([]byte(read(t, root+"packaging/npd/conntrack-monitor.json")), &monitor); err != nil {
		t.Fatal(err)
	}
	// The line has figures in it: with each new one the condition would begin anew,
	// and who waits until it has lasted for minutes would wait for ever.
	if monitor.PluginConfig.OnChange || monitor.PluginConfig.Timeout != "10s" {
		t.Errorf("plugin %+v", monitor.PluginConfig)
	}
	for _, r := range monitor.Rules {
		if filepath.Base(r.Path) != "check-conntrack" || r.Type == "permanent" && r.Condition != monitor.Conditions[0].Type {
			t.Errorf("rule %+v", r)
		}
	}
}

func TestRoleIsYAML(t *testing.T) {
	for _, path := range append(glob(t, "packaging/ansible/roles/ctwarden/*/main.yml"), root+"packaging/ansible/site.yml") {
		var any any
		if err := yaml.Unmarshal([]byte(read(t, path)), &any); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Every handler that is told is there.
	handlers := read(t, root+"packaging/ansible/roles/ctwarden/handlers/main.yml")
	for _, m := range regexp.MustCompile(`notify: \[?([^\]\n]+)`).FindAllStringSubmatch(read(t, root+"packaging/ansible/roles/ctwarden/tasks/main.yml"), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			if !strings.Contains(handlers, "- name: "+name+"\n") {
				t.Errorf("no handler %q", name)
			}
		}
	}
}

func TestImageBuildFlags(t *testing.T) {
	image, makefile := read(t, root+"packaging/Containerfile"), read(t, root+"Makefile")
	for _, flag := range []string{"CGO_ENABLED=0", "-trimpath", "-s -w -buildid=", "./cmd/ctwarden"} {
		if !strings.Contains(image, flag) || !strings.Contains(makefile, flag) {
			t.Errorf("%s is not in both", flag)
		}
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, root+"go.mod"))[1]
	if !strings.Contains(image, "golang:"+want+" ") {
		t.Errorf("the image is not built with Go %s", want)
	}
}
