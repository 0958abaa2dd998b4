package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// shells are those that completion writes a script for.
func shells() []cobra.Completion { return []cobra.Completion{"bash", "zsh", "fish", "powershell"} }

func newCompletion(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Write a script that completes command lines of cairn in a shell",
		Long: `Write a script for a shell that completes commands, flags, buckets and paths of
files when the tab key is pressed.`,
		Example: `  cairn completion bash > /etc/bash_completion.d/cairn
  cairn completion zsh > "${fpath[1]}/_cairn"
  cairn completion fish > ~/.config/fish/completions/cairn.fish
  cairn completion powershell >> $PROFILE`,
		Args: wantArgs(cobra.ExactArgs(1)), ValidArgs: shells(),
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := completionScript(cmd.Root(), args[0])
			if err != nil {
				return err
			}
			if t.json {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"shell": args[0], "script": script}, false)
			}
			return writeText(cmd.OutOrStdout(), script)
		},
	}
}

// completionScript returns the script for a shell.
func completionScript(root *cobra.Command, shell string) (string, error) {
	var b bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&b, true)
	case "zsh":
		err = root.GenZshCompletion(&b)
	case "fish":
		err = root.GenFishCompletion(&b, true)
	case "powershell":
		err = root.GenPowerShellCompletionWithDesc(&b)
	default:
		err = usageError{fmt.Errorf("completion: %q: want %s", shell, strings.Join(shells(), ", "))}
	}
	return b.String(), err
}
