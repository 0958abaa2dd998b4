// Command minimal is the smallest host: a program that keeps files in a store on
// disk, and nothing else. It stores a file and a second version of it, reads the
// first, lists what there is, and closes the store.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cairn-store/cairn"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: minimal DIR")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "minimal:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	store, err := cairn.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	bucket, err := store.Bucket("demo")
	if err != nil {
		return err
	}
	var file *cairn.File
	for _, text := range []string{"first draft", "second draft"} {
		if file, err = bucket.Put(ctx, "report.txt", strings.NewReader(text), nil); err != nil {
			return err
		}
	}
	first, err := bucket.Open(ctx, file.ID, &cairn.GetOptions{Version: 1})
	if err != nil {
		return err
	}
	text, err := io.ReadAll(first)
	if err := errors.Join(err, first.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "version %d: %s\n", first.Version, text)
	for file, err := range bucket.List(ctx, nil) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, %d bytes, %d versions\n", file.Path(), file.Size, file.VersionsCount)
	}
	return describeMemory(out)
}
