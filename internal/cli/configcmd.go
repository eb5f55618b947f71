package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/config"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "check, show and explain the configuration",
		Example: `  ctwarden config check
  ctwarden config check ./new.yaml
  ctwarden config reference | less`,
	}
	c.AddCommand(newConfigCheck(), newConfigShow(), newConfigReference())
	return c
}

func newConfigCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "list every mistake of the configuration, with its line",
		Example: `  ctwarden config check
  ctwarden config check ./new.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			src := configSource(cmd)
			if len(args) == 1 {
				src.Path, src.Explicit = args[0], true
			}
			cfg, err := config.Load(src)
			if err != nil {
				return err
			}
			if err := agent.CheckWeb(cfg); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			return err
		},
	}
}

func newConfigShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "print the configuration in force, with the origin of each value",
		Example: `  ctwarden config show`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configSource(cmd))
			if err != nil {
				return err
			}
			return cfg.Show(cmd.OutOrStdout())
		},
	}
}

func newConfigReference() *cobra.Command {
	return &cobra.Command{
		Use:     "reference",
		Short:   "print every key with its default and its meaning",
		Example: `  ctwarden config reference > ctwarden.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.Reference(cmd.OutOrStdout())
		},
	}
}

// loadForPaths returns the configuration for a command that needs its paths only. A
// mistake in the file must not prevent reading the audit log or restoring values: the
// command then uses the default paths and prints a warning.
func loadForPaths(cmd *cobra.Command) (*config.Config, error) {
	cfg, err := config.Load(configSource(cmd))
	if _, mistaken := errors.AsType[config.Problems](err); mistaken {
		defaults := config.Default()
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "ctwarden: the configuration has mistakes: using the default paths (run: ctwarden config check)")
		return &defaults, err
	}
	return cfg, err
}

// configSource returns the source of the configuration, with the flags applied.
func configSource(cmd *cobra.Command) config.Source {
	path, err := cmd.Flags().GetString("config")
	src := config.Source{Path: path, Explicit: true, Environ: os.Environ()}
	if err != nil || path == "" {
		src.Path, src.Explicit = config.DefaultPath, false
	}
	if mode := cmd.Flags().Lookup("mode"); mode != nil && mode.Changed {
		src.Flags = map[string]string{"mode": mode.Value.String()}
	}
	return src
}
