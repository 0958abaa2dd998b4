package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// A remover is a call of rm.
type remover struct {
	*target
	cmd                       *cobra.Command
	files                     *files
	permanent, recursive, yes bool
}

func newRm(t *target) *cobra.Command {
	r := &remover{target: t}
	cmd := &cobra.Command{
		Use: "rm [flags] BUCKET/ID...", Short: "Move files to the trash, or remove them or a version (m_...) for good", Args: wantArgs(cobra.MinimumNArgs(1)),
		SuggestFor: []string{"delete", "remove", "unlink"},
		Long: `Move files to the trash, from which restore takes them back. With --permanent
they are removed for good with all their versions, also those that are in the
trash. A version (m_...) is always removed for good. Space comes back when it
is collected: cairn serve does that by itself, cairn gc at once.

With --recursive BUCKET/FOLDER stands for all files below it, BUCKET for all of a
bucket; with --permanent too for those in the trash. It says how many that are and
asks; where nobody can answer, it wants --yes.`,
		Example: `  cairn rm demo/report.pdf demo/old.txt
  cairn rm --permanent demo/report.pdf
  cairn rm -r demo/photos/2019
  cairn rm -r --yes --json demo/tmp`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.cmd = cmd
			switch {
			case r.yes && !r.recursive:
				return usageError{errors.New("rm: --yes goes with --recursive")}
			case !r.recursive:
				if err := checkRefs(args); err != nil {
					return err
				}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				r.files = fl
				return t.eachArg(ctx, "rm", args, func(ref string) error {
					if r.recursive {
						return r.removeTree(ctx, ref)
					}
					return r.removeRef(ctx, ref)
				})
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&r.permanent, "permanent", false, "remove for good, with all versions, from the trash too")
	f.BoolVar(&r.permanent, "purge", false, "")
	f.Lookup("purge").Hidden = true // what it was called before
	f.BoolVarP(&r.recursive, "recursive", "r", false, "remove all files below a folder, or of a bucket")
	f.BoolVarP(&r.yes, "yes", "y", false, "with --recursive: do not ask")
	return cmd
}

func (r *remover) removeRef(ctx context.Context, ref string) error {
	resolve := resolveRef
	if r.permanent {
		resolve = r.resolveForGood
	}
	bucket, id, err := resolve(ctx, r.files, ref)
	if err != nil {
		return err
	}
	return r.removeFile(ctx, bucket, id)
}

// resolveForGood is resolveRef that looks in the trash for a path of which there is no
// file. Of several there it takes none.
func (r *remover) resolveForGood(ctx context.Context, fl *files, ref string) (bucket, id string, err error) {
	bucket, id, err = resolveRef(ctx, fl, ref)
	if _, ok := errors.AsType[*refError](err); !ok {
		return bucket, id, err
	}
	bucket, rest, _ := strings.Cut(ref, "/")
	found, terr := findByPath(ctx, fl, bucket, rest, true)
	switch {
	case terr != nil:
		return "", "", &refError{ref, "no such file", err}
	case len(found) > 1:
		return "", "", fmt.Errorf("%s: %d files of this path are in the trash: give BUCKET/ID of one (cairn ls --trash), or rm -r", ref, len(found))
	}
	return bucket, found[0].ID, nil
}

// removeFile removes a file or version. With --json it says what it removed.
func (r *remover) removeFile(ctx context.Context, bucket, id string) error {
	_, isVersion := manifest.ParseVersionID(id)
	remove := r.files.Delete
	if r.permanent && !isVersion {
		remove = r.files.Purge
	}
	if err := remove(ctx, bucket, id); err != nil || !r.json {
		return err
	}
	return r.showValue(r.cmd, map[string]any{"bucket": bucket, "id": id, "permanent": r.permanent || isVersion}, "")
}

// removeTree removes all below BUCKET[/FOLDER], or the file of that path.
func (r *remover) removeTree(ctx context.Context, ref string) error {
	bucket, folder, _ := strings.Cut(ref, "/")
	prefix := names.CanonicalPath(strings.Trim(folder, "/"))
	if isID(prefix) {
		return r.removeRef(ctx, ref)
	}
	if prefix != "" {
		prefix += "/"
	}
	all, count, size := 0, int64(0), int64(0)
	err := r.eachBelow(ctx, bucket, prefix, func(f *client.File) error {
		if all++; isMarker(f) { // goes with its folder, and nobody sees it
			return nil
		}
		count++
		size += f.Size
		return nil
	})
	switch {
	case err != nil:
		return err
	case all == 0 && prefix != "":
		return r.removeRef(ctx, bucket+"/"+strings.TrimSuffix(prefix, "/"))
	}
	where := "to the trash"
	if r.permanent {
		where = "for good, with those in the trash"
	}
	what := fmt.Sprintf("%s (%s) of %s %s", countText(count, "file", "files"), bytesText(size), strings.TrimSuffix(bucket+"/"+prefix, "/"), where)
	if count > 0 && !r.yes {
		if err := r.ask("remove " + what); err != nil {
			return err
		}
	}
	done, failed, err := r.removeBelow(ctx, bucket, prefix, count)
	if !r.json {
		printf(r.stdout, "%s of %d removed %s\n", countText(done, "file", "files"), count, where)
	}
	if err == nil && failed {
		err = errReported
	}
	return err
}

// eachBelow calls fn with the files of a bucket below prefix: those that rm is about.
func (r *remover) eachBelow(ctx context.Context, bucket, prefix string, fn func(*client.File) error) error {
	states := []string{"active"}
	if r.permanent {
		states = append(states, "trashed")
	}
	for _, state := range states {
		for f, err := range r.files.List(ctx, bucket, &client.ListOptions{Prefix: prefix, State: state, Markers: true}) {
			if err == nil {
				err = fn(f)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeBelow removes the files below prefix, and goes on after those that fail.
func (r *remover) removeBelow(ctx context.Context, bucket, prefix string, count int64) (done int64, failed bool, err error) {
	bar := newProgress(r.stderr)
	defer bar.stop()
	bar.expect(count, 0)
	bar.expectNoMore()
	err = r.eachBelow(ctx, bucket, prefix, func(f *client.File) error {
		at := bar.begin(f.Path, 0)
		defer at.end()
		err := r.removeFile(ctx, bucket, f.ID)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			r.reportFailure("rm", bucket+"/"+f.Path, err)
			failed = true
			return nil
		}
		if !isMarker(f) {
			done++
		}
		return nil
	})
	return done, failed, err
}

// ask asks on the terminal whether to do what. Where nobody can answer, the answer is
// --yes, or it is not done.
func (r *remover) ask(what string) error {
	in := r.cmd.InOrStdin()
	if !isTerminalInput(in) {
		return usageError{fmt.Errorf("this would %s: give --yes to do it", what)}
	}
	printf(r.stderr, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was removed")
}

// isTerminalInput reports that somebody can answer a question.
func isTerminalInput(in io.Reader) bool {
	switch v := in.(type) {
	case *os.File:
		return term.IsTerminal(int(v.Fd()))
	case interface{ Columns() int }: // of a test
		return v.Columns() > 0
	}
	return false
}
