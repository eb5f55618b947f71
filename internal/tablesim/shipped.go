package tablesim

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed scenarios/*.scenario
var shipped embed.FS

// Shipped returns the names of the scenarios that come with ctwarden, sorted.
func Shipped() []string {
	files, err := fs.Glob(shipped, "scenarios/*.scenario")
	if err != nil {
		panic("tablesim: " + err.Error())
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(file, "scenarios/"), ".scenario")
	}
	return names
}

// ShippedText returns the text of a shipped scenario, comments and all. The
// error says which there are.
func ShippedText(name string) (string, error) {
	text, err := shipped.ReadFile("scenarios/" + name + ".scenario")
	if err != nil {
		return "", fmt.Errorf("no scenario %q, have %s", name, strings.Join(Shipped(), ", "))
	}
	return string(text), nil
}

// Ship returns a shipped scenario.
func Ship(name string) (*Scenario, error) {
	text, err := ShippedText(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, text)
}
