package tablesim

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed scenarios/*.scenario
var builtInFiles embed.FS

// BuiltInNames returns the names of the scenarios that come with ctwarden, sorted.
func BuiltInNames() []string {
	files, err := fs.Glob(builtInFiles, "scenarios/*.scenario")
	if err != nil {
		panic("tablesim: " + err.Error())
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(file, "scenarios/"), ".scenario")
	}
	return names
}

// BuiltInText returns the text of a built in scenario, comments and all. The
// error lists the names there are.
func BuiltInText(name string) (string, error) {
	text, err := builtInFiles.ReadFile("scenarios/" + name + ".scenario")
	if err != nil {
		return "", fmt.Errorf("no scenario %q, have %s", name, strings.Join(BuiltInNames(), ", "))
	}
	return string(text), nil
}

// BuiltIn returns a shipped scenario.
func BuiltIn(name string) (*Scenario, error) {
	text, err := BuiltInText(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, text)
}
