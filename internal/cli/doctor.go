package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/internal/report"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check what this kernel, this host and these privileges permit",
		Long: `Doctor checks what ctwarden depends on: the module, the table, what the kernel's
netlink can really do (by trying it in a namespace of its own), privileges, the
kernel log and the journal, storage, the clock, other programs and files that
set the same values, and the other namespaces. It changes nothing.

It checks with the privileges of its user, and queries the running daemon for the
daemon's own. The exit code is 3 if something is wrong.`,
		Example: `  ctwarden doctor
  ctwarden doctor --json | jq '.findings[] | select(.verdict == "wrong")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configSource(cmd))
			if err != nil {
				return err
			}
			found, err := doctor.Examine(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return printFindings(cmd.OutOrStdout(), found, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return cmd
}

// printFindings prints the findings, and returns errFound if one is wrong.
func printFindings(out io.Writer, found []doctor.Finding, asJSON bool) error {
	bad := doctor.CountWrong(found)
	if asJSON {
		answer := struct {
			Wrong    int              `json:"wrong"`
			Findings []doctor.Finding `json:"findings"`
		}{bad, found}
		if err := report.WriteJSON(out, answer); err != nil {
			return err
		}
	} else if err := doctor.Print(out, found); err != nil {
		return err
	}
	if bad > 0 {
		return errFound
	}
	return nil
}
