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
	err := root.ExecuteContext(ctx)
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
			printf(errOut, "See 'cairn --help'.\n")
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
	working             working // what showWorking showed last
}

// chooseTarget lets --data win over CAIRN_SERVER, which --server wins over. Both flags
// together are an error: one of them would be passed over.
func (t *target) chooseTarget(cmd *cobra.Command) error {
	data, server := cmd.Flags().Changed("data"), cmd.Flags().Changed("server")
	switch {
	case data && server && t.server != "":
		return usageError{errors.New("--data and --server: give one of them, the directory or the server to work on")}
	case data && !server:
		t.server = ""
	}
	return nil
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
				return usageError{fmt.Errorf("there is no command %q", args[0])}
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&t.data, "data", envOr("CAIRN_DATA", "./cairn-data"), "directory of the store (CAIRN_DATA)")
	f.StringVar(&t.server, "server", os.Getenv("CAIRN_SERVER"), "URL of a server to use in place of --data (CAIRN_SERVER)")
	f.StringVar(&t.token, "token", "", "token for the server (CAIRN_TOKEN)")
	f.StringVar(&t.config, "config", os.Getenv("CAIRN_CONFIG"), "alyx.yml: backends, tokens, server (CAIRN_CONFIG)")
	f.StringVar(&t.schema, "schema", os.Getenv("CAIRN_SCHEMA"), "schema.yaml: buckets and their rules (CAIRN_SCHEMA)")
	f.BoolVar(&t.take, "take-ownership", false, "take backends in S3 over from the data directory that has written to them so far")
	f.BoolVar(&t.json, "json", false, "write JSON, an object a line")
	root.AddCommand(
		newServe(t), newPut(t), newGet(t), newLs(t), newStat(t), newVersions(t), newRefs(t), newCp(t), newRm(t), newRestore(t), newGC(t), newScrub(t),
		newCheck(t), newReport(t), newDump(t), newSchema(t), newRules(t), newKeys(t), newBackend(t), newMigrate(t), newImport(t), newLinks(t), newToken(t), newDoctor(t), newHealth(t), newVersion(t),
	)
	return root
}

// newGroup returns a command that only groups others. Called alone it is an
// error that names them, as want does.
func newGroup(name, short, want string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: wantArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return usageError{fmt.Errorf("%s: want %s", name, want)} }}
	cmd.AddCommand(below...)
	return cmd
}

// wantArgs turns the error of check into a usageError.
func wantArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s: %w; usage: %s", cmd.Name(), err, cmd.UseLine())}
		}
		return nil
	}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
