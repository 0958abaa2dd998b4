package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A scope says what a command works on, and so which of the shared flags it has. Those
// that mean nothing to it, it refuses.
type scope uint8

const (
	onStore  scope = 1 << iota // --data, --config, --schema, --take-ownership
	onServer                   // --server, --token
	onConfig                   // --config
	onSchema                   // --schema
	onNothing
)

// scopeOf returns the scope of a command, by its path without "cairn ".
func scopeOf(path string) scope {
	switch path {
	case "serve", "dump", "import alyx":
		return onStore
	case "sign", "gc status", "gc pause", "gc resume", "doctor", "health":
		return onServer
	case "schema check", "rules test":
		return onConfig | onSchema
	case "token", "backend probe":
		return onConfig
	case "schema keys", "schema json", "version", "completion", "help":
		return onNothing
	}
	return onStore | onServer
}

// addSharedFlags adds the shared flags to every command below cmd that does something.
func (t *target) addSharedFlags(cmd *cobra.Command, path string) {
	for _, sub := range cmd.Commands() {
		t.addSharedFlags(sub, strings.TrimSpace(path+" "+sub.Name()))
	}
	if !isGroup(cmd) && cmd.HasParent() {
		t.addFlags(cmd.Flags(), scopeOf(path))
	}
}

func (t *target) addFlags(f *pflag.FlagSet, s scope) {
	if s&onStore != 0 {
		f.StringVar(&t.data, "data", envOr("CAIRN_DATA", "./cairn-data"), "directory of the store (CAIRN_DATA)")
		f.BoolVar(&t.take, "take-ownership", false, "take backends in S3 over from the data directory that has written to them so far")
	}
	if s&onServer != 0 {
		usage := "URL of a server (CAIRN_SERVER)"
		if s&onStore != 0 {
			usage = "URL of a server to use in place of --data (CAIRN_SERVER)"
		}
		f.StringVar(&t.server, "server", os.Getenv("CAIRN_SERVER"), usage)
		f.StringVar(&t.token, "token", "", "token for the server (CAIRN_TOKEN)")
	}
	if s&(onStore|onConfig) != 0 {
		f.StringVar(&t.config, "config", os.Getenv("CAIRN_CONFIG"), "alyx.yml: backends, tokens, server (CAIRN_CONFIG)")
	}
	if s&(onStore|onSchema) != 0 {
		f.StringVar(&t.schema, "schema", os.Getenv("CAIRN_SCHEMA"), "schema.yaml: buckets and their rules (CAIRN_SCHEMA)")
	}
}

// chooseTarget lets --data win over CAIRN_SERVER, which --server wins over. Both flags
// together are an error: one of them would be passed over.
func (t *target) chooseTarget(cmd *cobra.Command) error {
	data, server := cmd.Flags().Changed("data"), cmd.Flags().Changed("server")
	switch {
	case data && server && t.server != "":
		return usageError{errors.New("--data and --server: give one of them, the directory or the server to work on")}
	case data && !server, cmd.Flags().Lookup("server") == nil:
		t.server = ""
	}
	return nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// isGroup reports a command that only groups others.
func isGroup(cmd *cobra.Command) bool { return cmd.Annotations["group"] != "" }

// newGroup returns a command that only groups others. Called alone it is an
// error that names them, as want does.
func newGroup(name, short, want string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: wantArgs(cobra.NoArgs), Annotations: map[string]string{"group": want},
		RunE: func(*cobra.Command, []string) error { return usageError{fmt.Errorf("%s: want %s", name, want)} }}
	cmd.AddCommand(below...)
	return cmd
}

// wantArgs turns the error of check into a usageError.
func wantArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && cmd.HasSubCommands() && check(cmd, args) != nil {
			return noCommand(cmd, args[0])
		}
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s: %w; usage: %s", cmd.Name(), err, cmd.UseLine())}
		}
		return nil
	}
}

// nearMiss is how many letters of a word may be wrong, so that another one is thought of.
const nearMiss = 2

// noCommand is the error of a command that is not there.
func noCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = nearMiss
	text := fmt.Sprintf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+name, "cairn "))
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		for i, n := range near {
			near[i] = strings.TrimPrefix(cmd.CommandPath()+" "+n, "cairn ")
		}
		text += "; did you mean " + strings.Join(slices.Compact(near), " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// explainFlagError turns an error of flags into a usageError, and says what was meant.
func explainFlagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return usageError{fmt.Errorf("%s: %w", commandName(cmd), err)}
	}
	name := unknown.GetSpecifiedName()
	dashes := "--"
	if unknown.GetSpecifiedShortnames() != "" {
		dashes, name = "-", name[:1]
	}
	text := fmt.Sprintf("%s: there is no flag %s%s", commandName(cmd), dashes, name)
	var shared pflag.FlagSet
	(&target{}).addFlags(&shared, onStore|onServer)
	if near := nearFlag(cmd, name); near != "" && dashes == "--" {
		text += "; did you mean --" + near + "?"
	} else if shared.Lookup(name) != nil {
		text = fmt.Sprintf("%s: --%s means nothing to this command", commandName(cmd), name)
	}
	return usageError{errors.New(text)}
}

// commandName returns the path of a command without the name of the program, unless
// that is all.
func commandName(cmd *cobra.Command) string { return strings.TrimPrefix(cmd.CommandPath(), "cairn ") }

// nearFlag returns the flag of a command whose name is nearest to name, or "".
func nearFlag(cmd *cobra.Command, name string) (near string) {
	best := nearMiss + 1
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.ComputeDistance(name, f.Name); !f.Hidden && d < best && d < len(f.Name) {
			best, near = d, f.Name
		}
	})
	return near
}
