package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/auth"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

func newServe(t *target) *cobra.Command {
	var addr string
	var dev, trustClock bool
	var logs logFlags
	cmd := &cobra.Command{
		Use: "serve (--dev | --config alyx.yml --schema schema.yaml) [flags]", Short: "Serve the store over HTTP", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn serve --dev --data ./cairn-data
  cairn serve --config alyx.yml --schema schema.yaml --addr 0.0.0.0:8090`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := logs.check(); err != nil {
				return err
			}
			s, err := t.readSettings()
			if err != nil {
				return err
			}
			if !dev && (s.config == nil || s.config.Auth.JWT == nil || s.schema == nil) {
				return usageError{errors.New("serve needs --config with auth.jwt, and --schema with buckets and their rules; or --dev, to serve this machine only, without rules")}
			}
			ln, err := listenOn(addr, dev)
			if err != nil {
				return err
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(50) // most of the heap is buffers in use; the default would let it double
			}
			return t.serveStore(cmd, ln, s, &logs, dev, trustClock)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", envOr("CAIRN_ADDR", defaultAddr), "address to listen on; with --dev a loopback one (CAIRN_ADDR)")
	cmd.Flags().BoolVar(&trustClock, "trust-clock", false, "believe this machine's clock, however long the store was not served: what has expired by it is removed")
	logs.addTo(cmd)
	cmd.Flags().StringVar(&t.auditFile, "audit-log", "", "file that gets a line for each change, - for standard error; default server.audit.file of alyx.yml, or none")
	cmd.Flags().BoolVar(&t.auditNames, "audit-names", false, "write names and folders of files into the audit too")
	cmd.Flags().BoolVar(&dev, "dev", false, "serve whoever is on this machine, as an operator")
	return cmd
}

// defaultAddr is where a server listens of which nobody says it.
const defaultAddr = "127.0.0.1:8090"

// listenOn listens on addr. With dev it takes only addresses that other
// machines cannot reach.
func listenOn(addr string, dev bool) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("--addr %q: %w", addr, err)}
	}
	if dev && !a.IP.IsLoopback() {
		return nil, usageError{fmt.Errorf("--addr %q is not a loopback address: use 127.0.0.1:PORT", addr)}
	}
	return net.ListenTCP("tcp", a)
}

func (t *target) serveStore(cmd *cobra.Command, ln net.Listener, s settings, logs *logFlags, dev, trustClock bool) error {
	log := logs.open(cmd.ErrOrStderr(), s.config)
	opts, err := t.configureStore(s)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	opts.Log = log.Logger
	failed := make(chan error, 1)
	opts.Failed = func(err error) { failed <- err }
	store, srv, err := t.newServer(cmd.Context(), opts, s, dev)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if trustClock {
		if err := store.TrustClock(cmd.Context()); err != nil {
			return errors.Join(err, store.Close(), ln.Close())
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before the address is printed: an unhandled SIGHUP ends the process
	defer signal.Stop(hup)
	began := time.Now()
	t.logStart(log, ln, s, store, srv, dev)
	url := "http://" + ln.Addr().String()
	if err := t.showValue(cmd, map[string]string{"url": url}, "cairn: listening on %s\n", url); err != nil {
		return errors.Join(err, store.Close(), ln.Close())
	}
	if dev && !t.json {
		printf(cmd.OutOrStdout(), "\nTry, in another terminal:\n  echo hello | curl -F \"file=@-;filename=hello.txt\" %s/api/files/%[2]s\n  curl %[1]s/api/files/%[2]s\n", url, store.Buckets()[0])
	}
	re := &reloader{target: t, store: store, log: log, logs: logs, began: s, now: s}
	g, ctx := errgroup.WithContext(cmd.Context())
	g.Go(func() error { return srv.Serve(ctx, ln) })
	g.Go(func() error { return store.Run(ctx) })
	g.Go(func() error { return local.Sweep(ctx, opts) })
	g.Go(func() error { return re.onHangup(ctx, hup) })
	g.Go(func() error { return waitForFailure(ctx, failed) })
	err = errors.Join(g.Wait(), store.Close())
	logStop(log, cmp.Or(err, context.Cause(cmd.Context())), err != nil, time.Since(began), srv)
	return err
}

// waitForFailure returns when the store can take no more changes until it is
// opened again. Restarting is left to the supervisor of the process.
func waitForFailure(ctx context.Context, failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// newServer opens the store and makes a server of it. It refuses backends
// whose service lacks what Cairn relies on.
func (t *target) newServer(ctx context.Context, opts *local.Options, s settings, dev bool) (*buckets.Store, *api.Server, error) {
	if err := local.ProbeAll(ctx, opts); err != nil {
		return nil, nil, err
	}
	store, err := local.Open(ctx, t.data, opts)
	if err != nil {
		return nil, nil, err
	}
	if s.config == nil {
		s.config = &schema.Config{}
	}
	server := s.config.Server
	server.MaxConnections = boundConnections(server.MaxConnections, opts.Log)
	who, err := auth.New(s.config, store.Keys(), opts.Log)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, api.New(store, &api.Options{Dev: dev, Auth: who, Server: server, Log: opts.Log}), nil
}

// ownFiles is how many files the server opens beside its connections: of the
// database, of packs, and to other services.
const ownFiles = 1024

// boundConnections returns how many connections may be taken: as many as are
// configured, or as many as this process may open.
func boundConnections(configured int, log *slog.Logger) int {
	n := cmp.Or(configured, api.DefaultConnections)
	limit, ok := openFileLimit()
	if !ok {
		return n
	}
	fit := fitConnections(n, limit)
	if fit < n {
		log.Warn("the limit of open files (ulimit -n) is too low for server.max_connections: fewer connections are taken",
			"open_files", limit, "needed", n+ownFiles, "max_connections", n, "taken", fit)
	}
	return fit
}

// fitConnections is how many of n connections a process takes that may open limit
// files, at least half as many.
func fitConnections(n int, limit uint64) int {
	if limit >= uint64(n+ownFiles) {
		return n
	}
	return min(n, int(max(limit/2, limit-min(limit, ownFiles), 1)))
}
