// Command cairn stores files so that the same bytes are kept once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errReported is a failure that the command has printed already.
var errReported = errors.New("reported")

// A usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes a command line and returns the exit status: 0 for success, 1
// for a failure, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out, errOut := newScreen(stdout, stderr)
	t := &target{stdout: out, stderr: errOut}
	root := newRoot(t)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteContextC(actAsUser(ctx))
	out.screen.hideLine()
	asJSON := t.json || slices.Contains(args, "--json") // which a wrong command line leaves unread
	var usage usageError
	var wrong schema.Problems
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return 1
	case errors.As(err, &usage):
		writeFailure(errOut, err, asJSON)
		if !asJSON {
			printf(errOut, "See '%s --help'.\n", cmd.CommandPath())
		}
		return 2
	case errors.As(err, &wrong) && !asJSON:
		for _, p := range wrong {
			printf(errOut, "%s\n", p)
		}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		writeFailure(errOut, errors.New("interrupted"), asJSON)
	case errors.Is(err, local.ErrLocked):
		writeFailure(errOut, fmt.Errorf("%w; talk to that process with --server URL, or stop it", err), asJSON)
	default:
		writeFailure(errOut, err, asJSON)
	}
	return 1
}

// A target is the directory or the server that a command works on.
type target struct {
	data, server, token string
	config, schema      string
	take                bool // ownership of backends
	makes               bool // a store where there is none
	json                bool
	stdout, stderr      io.Writer
	auditFile           string // of serve --audit-log
	auditNames          bool
	audit               *auditLog // of the store that configureStore is about
	working             working   // what showWorking showed last
}

func newRoot(t *target) *cobra.Command {
	root := &cobra.Command{
		Use:           "cairn",
		Short:         "A file store that keeps the same bytes once",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       thisBuild().Version,
		Args:          cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return t.chooseTarget(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true // newCompletion is in its place
	root.SetFlagErrorFunc(explainFlagError)
	root.PersistentFlags().BoolVar(&t.json, "json", false, "write JSON, an object a line")
	// Cobra has to know which flags before a command take no value.
	root.Flags().BoolVar(&t.take, "take-ownership", false, "")
	root.Flags().Lookup("take-ownership").Hidden = true
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Files:", []*cobra.Command{newPut(t), newGet(t), newLs(t), newStat(t), newVersions(t), newCp(t), newMv(t), newRm(t), newRestore(t), newSign(t), newBuckets(t)}},
		{"Servers and who may what:", []*cobra.Command{newServe(t), newHealth(t), newDoctor(t), newSchema(t), newRules(t), newKeys(t), newToken(t), newBackend(t)}},
		{"Upkeep:", []*cobra.Command{newCheck(t), newScrub(t), newGC(t), newReport(t), newMigrate(t), newDump(t), newImport(t), newRefs(t), newLinks(t)}},
		{"About cairn:", []*cobra.Command{newVersion(t), newCompletion(t)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.title
		}
		root.AddCommand(g.commands...)
	}
	help := newHelp(t)
	help.GroupID = "About cairn:"
	root.SetHelpCommand(help)
	root.AddCommand(help)
	root.SetHelpFunc(t.showHelp)
	t.addSharedFlags(root, "")
	return root
}
