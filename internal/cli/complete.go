package cli

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// The bounds of a completion, for which a user waits: the time to read a log, and the
// number of incidents.
const (
	completionTime = time.Second
	maxCompletions = 50
)

// addCompletions sets the completions of the arguments and flags of a command and its
// subcommands. Shells offer files only where a file is expected.
func addCompletions(c *cobra.Command) {
	for _, sub := range c.Commands() {
		addCompletions(sub)
	}
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = completeArgs(c)
	}
	flags := map[string]cobra.CompletionFunc{
		"incident": completeIncidents, "kind": completeKinds, "mode": completeModes, "netns": completeNamespaces,
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		offer := flags[f.Name]
		switch value, _ := pflag.UnquoteUsage(f); {
		case offer != nil || value == "file":
		case value == "directory":
			offer = completeDirectories
		default:
			offer = cobra.NoFileCompletions
		}
		if _, known := c.GetFlagCompletionFunc(f.Name); offer != nil && !known {
			// It fails only for an unknown or a registered flag.
			_ = c.RegisterFlagCompletionFunc(f.Name, offer)
		}
	})
}

// completeArgs returns the completion of a command's arguments; nil completes files.
func completeArgs(c *cobra.Command) cobra.CompletionFunc {
	switch c.CommandPath() {
	case "ctwarden incident show", "ctwarden incident report", "ctwarden replay":
		return completeIncidents
	case "ctwarden simulate":
		return completeScenarios
	}
	if c.HasSubCommands() || c.Args != nil && c.Args(c, []string{"word"}) != nil {
		return cobra.NoFileCompletions
	}
	return nil
}

// completeIncidents returns "last" and the newest incidents with their first sentence.
// A log that is not readable has none.
func completeIncidents(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 && cmd.Args != nil && cmd.Args(cmd, given) == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	offers := []cobra.Completion{cobra.CompletionWithDesc("last", "the newest")}
	log := ""
	if f := cmd.Flags().Lookup("log"); f != nil {
		log = f.Value.String()
	}
	if path, err := logPath(cmd, log); err == nil {
		ctx, stop := context.WithTimeout(cmd.Context(), completionTime)
		defer stop()
		offers = append(offers, incidentNames(ctx, path)...)
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// incidentNames returns the newest incidents of a log, the newest first.
func incidentNames(ctx context.Context, path string) []cobra.Completion {
	// A log of another host is untrusted, and the shell inserts the name.
	plain := regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	var names []cobra.Completion
	for r, err := range audit.Read(ctx, path, audit.Filter{Kinds: []record.Kind{record.KindIncidentOpen}}) {
		if _, damaged := errors.AsType[*audit.LineError](err); damaged {
			continue
		}
		if err != nil {
			break
		}
		if id := record.Incident(r.Line()); plain.MatchString(id) {
			names = append(names, cobra.CompletionWithDesc(id, r.Sentence()))
		}
	}
	slices.Reverse(names)
	return names[:min(len(names), maxCompletions)]
}

// completeKinds completes the last element of a list of record kinds.
func completeKinds(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before := word[:strings.LastIndex(word, ",")+1]
	var offers []cobra.Completion
	for _, k := range record.Kinds() {
		offers = append(offers, before+string(k))
	}
	slices.Sort(offers)
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func completeModes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{policy.Enforce.String(), policy.Observe.String()}, cobra.ShellCompDirectiveNoFileComp
}

// completeScenarios returns the built-in scenarios; the shell offers files if none
// matches.
func completeScenarios(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offers []cobra.Completion
	for _, name := range tablesim.BuiltInNames() {
		if s, err := tablesim.BuiltIn(name); err == nil {
			offers = append(offers, cobra.CompletionWithDesc(name, s.About))
		}
	}
	return offers, cobra.ShellCompDirectiveDefault
}

// completeNamespaces returns the names of the other network namespaces that this user
// may see.
func completeNamespaces(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var known watcher.Known
	defer func() { _ = known.Close() }() // it only read
	var offers []cobra.Completion
	if known.Search() == nil {
		for _, ns := range known.All() {
			if name := ns.Name(); name != "" && !strings.ContainsAny(name, " \t\n") {
				offers = append(offers, audit.Sanitise(name))
			}
		}
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

func completeDirectories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
