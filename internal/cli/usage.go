package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctwarden/ctwarden/internal/ui"
)

// usageError is a command line that was not understood.
type usageError struct {
	err  error
	path string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// maxTypos is how many letters a mistyped word may be away from the right one.
const maxTypos = 2

// configureBuiltins has cobra make its own commands now, and not only when it runs,
// and makes them speak as the others do.
func configureBuiltins(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "help about a command"
		case "completion":
			c.Short = "print what makes a shell complete ctwarden's commands and flags"
			for _, shell := range c.Commands() {
				if shell.Name() == "powershell" {
					c.RemoveCommand(shell) // there is no such table on Windows
				}
				shell.Short = "print it for " + shell.Name()
			}
		}
	}
}

// refuseUnknownWords makes a command and those below it say of a word that they
// do not take what could have been meant. Cobra takes any word after a group,
// and prints its help with exit code 0.
func refuseUnknownWords(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseUnknownWords(sub)
	}
	switch args := c.Args; {
	case c.HasSubCommands():
		c.SuggestionsMinimumDistance = maxTypos
		c.Args = func(cmd *cobra.Command, given []string) error { return unknownCommand(cmd, given) }
		if c.RunE == nil {
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	case c.Name() == "help":
		c.Args = func(cmd *cobra.Command, given []string) error {
			found, rest, err := cmd.Root().Find(given)
			if err != nil {
				return err
			}
			return unknownCommand(found, rest)
		}
	case args != nil:
		c.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return argsError(cmd, given, args)
			}
			return nil
		}
	}
}

// unknownCommand is the error about the first of the words that follow a group
// of commands; nil where there is none.
func unknownCommand(group *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	err := usageError{fmt.Errorf("unknown command %q for %q", words[0], group.CommandPath()), group.CommandPath()}
	var hints []string
	for _, name := range slices.Compact(group.SuggestionsFor(words[0])) {
		hints = append(hints, group.CommandPath()+" "+name)
	}
	return hint(err, hints...)
}

// argsError is the error about words of which args takes fewer or more.
func argsError(cmd *cobra.Command, given []string, args cobra.PositionalArgs) error {
	for n, word := range slices.Backward(given) {
		if args(cmd, given[:n]) == nil {
			err := usageError{fmt.Errorf("%s does not take %q", cmd.CommandPath(), word), cmd.CommandPath()}
			return hint(err, quotedTime(cmd, word)...)
		}
	}
	_, missing, _ := strings.Cut(cmd.Use, " ")
	err := usageError{fmt.Errorf("%s needs %s", cmd.CommandPath(), missing), cmd.CommandPath()}
	return hint(err, exampleLines(cmd)...)
}

// quotedTime says how to give a time whose second half is taken for a word: one
// that was pasted as it was printed.
func quotedTime(cmd *cobra.Command, word string) []string {
	for _, name := range []string{"since", "until"} {
		f := cmd.Flags().Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		whole := f.Value.String() + " " + word
		if _, err := parseTime(whole, time.Now()); err == nil {
			return []string{cmd.CommandPath() + " --" + name + " " + ui.Quote(whole)}
		}
	}
	return nil
}

// exampleLines returns the lines of a command's example.
func exampleLines(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// flagError is the error about a flag that is none, or whose value is none.
func flagError(cmd *cobra.Command, err error) error {
	if value, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if want, known := valueKinds()[value.GetFlag().Value.Type()]; known {
			err = fmt.Errorf("--%s %s: expected %s", value.GetFlag().Name, value.GetValue(), want)
		}
		return usageError{err, cmd.CommandPath()}
	}
	var hints []string
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		for _, name := range similarFlags(cmd, cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName())) {
			hints = append(hints, cmd.CommandPath()+" --"+name)
		}
	}
	return hint(usageError{err, cmd.CommandPath()}, hints...)
}

// valueKinds says what a flag of a type takes, by pflag's name of the type.
func valueKinds() map[string]string {
	return map[string]string{
		"duration": "a duration such as 30m or 2h", "int": "a whole number", "uint64": "a whole number from 0",
		"float64": "a number", "bool": "true or false",
	}
}

// similarFlags returns the flags of a command that a mistyped name may stand for.
// A single letter may stand for anything.
func similarFlags(cmd *cobra.Command, name string) []string {
	if len(name) < 2 {
		return nil
	}
	// Cobra knows which words look alike, but tells it of commands only.
	words := &cobra.Command{SuggestionsMinimumDistance: maxTypos}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		words.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return words.SuggestionsFor(name)
}

// sortedList names what there is to choose from, in the order of the alphabet.
func sortedList[T ~string](words []T) string {
	names := make([]string, len(words))
	for n, word := range words {
		names[n] = string(word)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
