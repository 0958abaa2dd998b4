// Command cairn stores files so that the same bytes are kept once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

var version = "unknown" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cairn:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: cairn serve|put|get|check|report|version")
	}
	fs := flag.NewFlagSet(args[0], flag.ExitOnError)
	data := fs.String("data", "./cairn-data", "directory")
	addr := fs.String("addr", "127.0.0.1:8090", "address")
	fs.Bool("dev", false, "serve this machine's user without a token")
	fs.Bool("json", false, "JSON output")
	out := fs.String("o", "-", "output file")
	repair := fs.Bool("repair", false, "mend what can be mended")
	digests := fs.String("digests", "", "digests")
	fs.String("bucket", "demo", "bucket")
	fs.Parse(args[1:])
	switch args[0] {
	case "version":
		fmt.Println(version)
		return nil
	case "check":
		r, err := local.Check(ctx, *data, &local.CheckOptions{Repair: *repair})
		if err != nil {
			return err
		}
		json.NewEncoder(os.Stdout).Encode(r)
		if !r.OK {
			return errors.New("the store is damaged")
		}
		return nil
	}
	s, err := local.Open(ctx, *data, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.Bucket("demo")
	if err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(ctx, *addr, b)
	case "put":
		for _, p := range fs.Args() {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			opts := &buckets.PutOptions{SkipUnchanged: true}
			if *digests == "none" {
				opts.Digests = []string{}
			}
			file, err := b.Put(ctx, filepath.Base(p), f, opts)
			f.Close()
			if err != nil {
				return err
			}
			json.NewEncoder(os.Stdout).Encode(view(file))
		}
	case "get":
		o, err := b.Open(ctx, strings.TrimPrefix(fs.Arg(0), "demo/"), nil)
		if err != nil {
			return err
		}
		defer o.Close()
		w := os.Stdout
		if *out != "-" {
			if w, err = os.Create(*out); err != nil {
				return err
			}
		}
		_, err = o.WriteTo(w)
		return errors.Join(err, w.Close())
	case "report":
		r, err := s.Dedup(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	return nil
}

func view(f *buckets.File) map[string]any {
	return map[string]any{"id": f.ID, "manifest_id": f.ManifestID, "version": f.Version, "name": f.Name, "size": f.Size,
		"mime_type": f.MIMEType, "checksums": f.Checksums, "new_bytes": f.NewBytes, "stored_bytes": f.StoredBytes, "unchanged": f.Unchanged}
}

func serve(ctx context.Context, addr string, b *buckets.Bucket) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/files/demo", func(w http.ResponseWriter, r *http.Request) {
		f, err := b.Put(r.Context(), r.URL.Query().Get("name"), r.Body, &buckets.PutOptions{OnConflict: buckets.ConflictNew})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(view(f))
	})
	mux.HandleFunc("GET /api/files/demo", func(w http.ResponseWriter, r *http.Request) {
		files := []any{}
		for f, err := range b.List(r.Context(), &buckets.ListOptions{Limit: 1000}) {
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			files = append(files, view(f))
		}
		json.NewEncoder(w).Encode(map[string]any{"files": files})
	})
	mux.HandleFunc("GET /api/files/demo/{id}/download", func(w http.ResponseWriter, r *http.Request) {
		o, err := b.Open(r.Context(), r.PathValue("id"), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer o.Close()
		if _, err := io.Copy(w, o); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	srv := &http.Server{Handler: mux}
	fmt.Printf("cairn: listening on http://%s\n", ln.Addr())
	go func() {
		<-ctx.Done()
		srv.Shutdown(context.WithoutCancel(ctx))
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}
