package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelp is Cobra's command, but fails where there is no such command.
func newHelp(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Tell what a command does", Args: cobra.ArbitraryArgs,
		Example: `  cairn help
  cairn help gc preview`,
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for _, name := range args {
				sub, _, err := found.Find([]string{name})
				if err != nil || sub == found {
					return noCommand(found, name)
				}
				found = sub
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// showHelp writes the help of a command.
func (t *target) showHelp(cmd *cobra.Command, _ []string) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	text = strings.TrimSpace(text) + "\n\n" + cmd.UsageString()
	if t.json {
		writeJSON(cmd.OutOrStdout(), map[string]string{"command": cmd.CommandPath(), "help": text}, false)
		return
	}
	writeText(cmd.OutOrStdout(), text)
}
