package ops

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/policy"
)

// role is where the Ansible role is.
const role = root + "packaging/ansible/roles/ctwarden/"

// ansible runs one of its programs with a home of its own.
func ansible(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s (Debian packages ansible-core, ansible-lint)", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, text)
	}
}

func TestAnsibleSyntax(t *testing.T) {
	inventory := filepath.Join(t.TempDir(), "inventory")
	if err := os.WriteFile(inventory, []byte("[ctwarden]\ngw1\ngw2\n[ctwarden_canary]\ngw1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ansible(t, "ansible-playbook", "--syntax-check", "--inventory", inventory, root+"packaging/ansible/site.yml")
}

func TestAnsibleLint(t *testing.T) {
	ansible(t, "ansible-lint", "--offline", root+"packaging/ansible/site.yml", role)
}

// TestRoleWritesConfiguration has Ansible fill in the file that the role
// puts in place, and loads it.
func TestRoleWritesConfiguration(t *testing.T) {
	var tasks []map[string]any
	if err := yaml.Unmarshal([]byte(read(t, role+"tasks/main.yml")), &tasks); err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := yaml.Unmarshal([]byte(read(t, role+"defaults/main.yml")), &defaults); err != nil {
		t.Fatal(err)
	}
	var content any
	for _, task := range tasks {
		if task["name"] == "Configure" {
			content = at(t, task, "ansible.builtin.copy", "content")
		}
	}
	tests := map[string]struct {
		vars map[string]any
		want func(*config.Config)
	}{
		"the defaults": {nil, func(*config.Config) {}},
		"a canary keeps the rest": {
			map[string]any{"ctwarden_mode": "observe", "ctwarden_config": map[string]any{"mode": "enforce", "raise": map[string]any{"ceiling": 500000}}},
			func(c *config.Config) { c.Limits.Mode, c.Limits.Raise.Ceiling = policy.Observe, 500000 },
		},
		"a textfile beside other metrics": {
			map[string]any{"ctwarden_textfile_dir": "/srv/prom", "ctwarden_config": map[string]any{"metrics": map[string]any{"listen": "127.0.0.1:9871"}}},
			func(c *config.Config) {
				c.Metrics.Textfile, c.Metrics.Listen = "/srv/prom/ctwarden.prom", "127.0.0.1:9871"
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			vars := maps.Clone(defaults)
			maps.Copy(vars, test.vars)
			file := filepath.Join(dir, "ctwarden.yaml")
			text, err := yaml.Marshal([]any{map[string]any{
				"hosts": "localhost", "connection": "local", "gather_facts": false, "vars": vars,
				"tasks": []any{map[string]any{"ansible.builtin.copy": map[string]any{"dest": file, "mode": "0644", "content": content}}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			book := filepath.Join(dir, "book.yml")
			if err := os.WriteFile(book, text, 0o600); err != nil {
				t.Fatal(err)
			}
			ansible(t, "ansible-playbook", "--inventory", "localhost,", book)
			got, err := config.Load(config.Source{Path: file, Explicit: true})
			if err != nil {
				t.Fatalf("%v\n%s", err, read(t, file))
			}
			want := config.Default()
			test.want(&want)
			if changes := config.Diff(want, *got); len(changes) > 0 {
				t.Errorf("changes (-want +got): %v", changes)
			}
		})
	}
}
