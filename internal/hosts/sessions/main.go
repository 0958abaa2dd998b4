// Command sessions is a host whose users keep files: it has sessions of its own, in a
// cookie, serves Cairn's API below /storage behind a middleware that logs, and lets
// the rules of a schema decide who may do what.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairn-store/cairn"
)

// buckets are the host's: who has stored a file may read, change and share it.
const buckets = `
buckets:
  files:
    max_file_size: 1GB
    rules:
      create: auth.id != null
      read: auth.id == file.owner || "shared" in file.tags
      update: auth.id == file.owner
      delete: auth.id == file.owner
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sessions DIR ADDRESS")
		os.Exit(2)
	}
	if err := serve(ctx, os.Args[1], os.Args[2], os.Stdout, slog.Default()); err != nil {
		fmt.Fprintln(os.Stderr, "sessions:", err)
		os.Exit(1)
	}
}

// serve answers requests until ctx is done. It tells out where.
func serve(ctx context.Context, dir, address string, out io.Writer, log *slog.Logger) (err error) {
	opts, err := cairn.Parse(nil, []byte(buckets))
	if err != nil {
		return err
	}
	opts.Log = log
	store, err := cairn.Open(ctx, dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: newHandler(store, newSessions(), log), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(out, "listening on http://%s\n", ln.Addr())
	store.Run(ctx) // sweeps and collects until ctx is done
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := srv.Shutdown(wait); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newHandler returns the host's routes.
func newHandler(store *cairn.Store, people *sessions, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", people.signIn)
	mux.HandleFunc("POST /logout", people.signOut)
	mux.Handle("/storage/", http.StripPrefix("/storage", cairn.NewServer(store, &cairn.ServerOptions{Auth: people, Log: log})))
	// What Cairn serves it checks itself; this is for the host's own forms.
	return logRequests(log, http.NewCrossOriginProtection().Handler(mux))
}
