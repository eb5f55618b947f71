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

// usageError is a mistake in the command line.
type usageError struct {
	err  error
	path string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// maxTypos is the longest edit distance of a suggestion.
const maxTypos = 2

// configureBuiltins makes cobra's own commands now instead of at run time, and words
// them like the others.
func configureBuiltins(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "print the help of a command"
		case "completion":
			c.Short = "print the completion script of a shell"
			for _, shell := range c.Commands() {
				if shell.Name() == "powershell" {
					c.RemoveCommand(shell) // ctwarden runs on Linux only
				}
				shell.Short = "print it for " + shell.Name()
			}
		}
	}
}

// refuseUnknownWords makes a command and its subcommands refuse an unknown word, with
// suggestions. Cobra itself accepts any word after a group and prints the help with
// exit code 0.
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

// unknownCommand returns the error for the first of the words after a group of
// commands; nil if there is none.
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

// argsError returns the error for too many or too few words.
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

// quotedTime returns the hint for a time that was pasted without quotes, so that its
// second half became a word of its own.
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

// flagError returns the error for an unknown flag or an invalid value.
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

// valueKinds describes the values of a flag type, by pflag's name of the type.
func valueKinds() map[string]string {
	return map[string]string{
		"duration": "a duration such as 30m or 2h", "int": "a whole number", "uint64": "a whole number from 0",
		"float64": "a number", "bool": "true or false",
	}
}

// similarFlags returns the flags of a command that are similar to a mistyped name. A
// single letter has none.
func similarFlags(cmd *cobra.Command, name string) []string {
	if len(name) < 2 {
		return nil
	}
	// Cobra compares the names of commands only.
	words := &cobra.Command{SuggestionsMinimumDistance: maxTypos}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		words.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return words.SuggestionsFor(name)
}

// sortedList returns the words in alphabetical order, separated by commas.
func sortedList[T ~string](words []T) string {
	names := make([]string, len(words))
	for n, word := range words {
		names[n] = string(word)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
