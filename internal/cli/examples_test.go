package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// typedInExample finds the commands of an example. One ends where the shell
// takes over, or where it is explained.
var typedInExample = regexp.MustCompile(`(?:^|[|&] |sudo |-n 60 )ctwarden((?: [^ |>&#]+(?: [^ "|>&#]*"[^"]*")?)*)`)

// TestExamplesParse parses each as the program would: the
// words are taken, the flags are there and like their values.
func TestExamplesParse(t *testing.T) {
	seen := 0
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			look(sub)
		}
		if c.Name() == "help" || c.Name() == "completion" || c.Parent() != nil && c.Parent().Name() == "completion" {
			return // cobra's own, with its own instructions
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, line := range exampleLines(c) {
			found := typedInExample.FindAllStringSubmatch(line, -1)
			if len(found) == 0 {
				t.Errorf("%s: the example %q types no command", c.CommandPath(), line)
			}
			for _, m := range found {
				seen++
				parseExample(t, m[1])
			}
		}
	}
	look(New("dev"))
	if seen < 40 {
		t.Errorf("%d examples", seen)
	}
}

func parseExample(t *testing.T, line string) {
	t.Helper()
	var words []string
	for _, w := range regexp.MustCompile(`[^ "]*"[^"]*"|[^ ]+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(w, `"`))
	}
	c, rest, err := New("dev").Find(words)
	if err != nil {
		t.Errorf("%q: %v", line, err)
		return
	}
	c.Flags().AddFlagSet(c.InheritedFlags())
	c.Flags().SetInterspersed(true)
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("%q: %v", line, err)
		return
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("%q: %v", line, err)
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "help" {
			t.Errorf("%q only asks for help", line)
		}
	})
}
