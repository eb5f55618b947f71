package ops

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestDocumentLinksResolve(t *testing.T) {
	for _, path := range append(glob(t, "docs/*.md"), root+"README.md", root+"CHANGELOG.md") {
		page := read(t, path)
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			target, anchor, anchored := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			there, file := page, path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
				if found, err := filepath.Glob(file); err != nil || len(found) == 0 {
					t.Errorf("%s: %s is not there", path, m[1])
					continue
				}
			}
			if !anchored {
				continue
			}
			if target != "" {
				there = read(t, file)
			}
			if !headings(there)[anchor] {
				t.Errorf("%s: no heading for %s", path, m[1])
			}
		}
	}
}

// typed finds what is typed in a page: after a prompt, or between backticks. It
// ends where the shell takes over, or where the command is explained.
var typed = regexp.MustCompile("(?m)(?:^(?:# |\\$ (?:[A-Z_]+=\\S+ )?)|`)(?:sudo )?ctwarden ([a-z-]+(?: [^`|>;#)\\n ]+)*)")

// blocks finds the blocks of a page, in which a command needs no prompt.
var (
	blocks  = regexp.MustCompile("(?ms)^```\\w*\n(.*?)^```$")
	inBlock = regexp.MustCompile("(?m)(?:^|[;|&] )(?:sudo )?ctwarden ([a-z-]+(?: [^`|>;#)\\n ]+)*)(?: |$)")
)

// commands returns the commands that a page types, without the program's name.
func commands(page string) []string {
	var found []string
	for _, m := range typed.FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	for _, block := range blocks.FindAllStringSubmatch(page, -1) {
		for _, m := range inBlock.FindAllStringSubmatch(block[1], -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// TestDocumentedCommandsExist asks the program for the help of each
// command that the pages for operators type, and looks for its flags there.
func TestDocumentedCommandsExist(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ctwarden")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/ctwarden")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var seen []string
	for _, page := range append(glob(t, "docs/*.md"), root+"README.md", root+"CHANGELOG.md") {
		for _, line := range commands(read(t, page)) {
			words := strings.Fields(line)
			command := words[:1:1]
			if len(words) > 1 && regexp.MustCompile(`^[a-z]+$`).MatchString(words[1]) && slices.Contains([]string{"audit", "incident", "config"}, words[0]) {
				command = words[:2:2]
			}
			text, err := exec.CommandContext(t.Context(), program, append(command, "--help")...).Output()
			// Asked for the help of what is none, a group tells of itself.
			if err != nil || !strings.Contains(string(text), "Usage:\n  ctwarden "+strings.Join(command, " ")) {
				t.Errorf("%s: there is no ctwarden %s: %v", page, strings.Join(command, " "), err)
				continue
			}
			for _, word := range words {
				name, _, _ := strings.Cut(word, "=")
				if strings.HasPrefix(word, "-") && !regexp.MustCompile(`(?m)(^|\s)`+regexp.QuoteMeta(name)+`[\s,=]`).MatchString(string(text)) {
					t.Errorf("%s: ctwarden %s has no %s", page, strings.Join(command, " "), name)
				}
			}
			seen = append(seen, strings.Join(command, " "))
		}
	}
	slices.Sort(seen)
	if seen = slices.Compact(seen); len(seen) < 20 {
		t.Errorf("the pages type %d commands: %v", len(seen), seen)
	}
}
