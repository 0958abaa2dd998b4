package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// A refError says what is wrong with BUCKET/PATH. It leaves out what the server says,
// which knows no more.
type refError struct {
	ref, why string
	err      error
}

func (e *refError) Error() string { return e.ref + ": " + e.why }
func (e *refError) Unwrap() error { return e.err }

// isID reports the ID of a file or version.
func isID(s string) bool {
	_, isFile := manifest.ParseFileID(s)
	_, isVersion := manifest.ParseVersionID(s)
	return isFile || isVersion
}

// cutRef returns the parts of BUCKET/ID or BUCKET/PATH.
func cutRef(ref string) (bucket, rest string, err error) {
	bucket, rest, ok := strings.Cut(ref, "/")
	if !ok || bucket == "" || rest == "" {
		return "", "", usageError{fmt.Errorf("%q: want BUCKET/ID or BUCKET/PATH", ref)}
	}
	return bucket, rest, nil
}

// checkRefs fails if one of refs is not BUCKET/ID or BUCKET/PATH, before anything is
// done about the others.
func checkRefs(refs []string) error {
	for _, ref := range refs {
		if _, _, err := cutRef(ref); err != nil {
			return err
		}
	}
	return nil
}

// resolveRef returns the bucket and the ID of BUCKET/ID or BUCKET/PATH.
func resolveRef(ctx context.Context, fl *files, ref string) (bucket, id string, err error) {
	bucket, rest, err := cutRef(ref)
	if err != nil || isID(rest) {
		return bucket, rest, err
	}
	found, err := findByPath(ctx, fl, bucket, rest, false)
	if errors.Is(err, fs.ErrNotExist) && !isNoBucket(err) {
		why := "no such file"
		if trashed, terr := findByPath(ctx, fl, bucket, rest, true); terr == nil && len(trashed) > 0 {
			why += "; one is in the trash, from where restore takes it"
		}
		return "", "", &refError{ref, why, err}
	}
	if err != nil {
		return "", "", err
	}
	return bucket, found[0].ID, nil
}

// resolveAnywhere is resolveRef that looks in the trash for a path of which there is no
// file.
func (t *target) resolveAnywhere(ctx context.Context, fl *files, ref string) (bucket, id string, err error) {
	bucket, id, err = resolveRef(ctx, fl, ref)
	if missing, ok := errors.AsType[*refError](err); ok && errors.Is(missing, fs.ErrNotExist) {
		if b, trashed, terr := t.resolveTrashed(ctx, fl, ref); terr == nil {
			return b, trashed, nil
		}
	}
	return bucket, id, err
}

// resolveTrashed returns the bucket and ID of BUCKET/ID, or of what was moved to the
// trash last from BUCKET/PATH. It tells on stderr of others with that path.
func (t *target) resolveTrashed(ctx context.Context, fl *files, ref string) (bucket, id string, err error) {
	bucket, rest, err := cutRef(ref)
	if err != nil || isID(rest) {
		return bucket, rest, err
	}
	found, err := findByPath(ctx, fl, bucket, rest, true)
	if errors.Is(err, fs.ErrNotExist) && !isNoBucket(err) {
		return "", "", &refError{ref, "no such file in the trash", err}
	}
	if err != nil {
		return "", "", err
	}
	if len(found) > 1 && !t.json {
		printf(t.stderr, "cairn: %s: %d files of this path are in the trash; this is about the last one. The others:\n", ref, len(found))
		for _, f := range found[1:min(len(found), 10)] {
			printf(t.stderr, "  %s/%s  %s  deleted %s\n", bucket, f.ID, bytesText(f.Size), f.DeletedAt.Local().Format(time.DateTime))
		}
		if more := len(found) - 10; more > 0 {
			printf(t.stderr, "  and %d more: cairn ls --trash\n", more)
		}
	}
	return bucket, found[0].ID, nil
}

// findByPath returns the active file of a path, or those in the trash, of which the
// last deleted comes first. None is fs.ErrNotExist.
func findByPath(ctx context.Context, fl *files, bucket, name string, trashed bool) ([]*client.File, error) {
	if !trashed {
		f, err := fl.StatPath(ctx, bucket, name, nil)
		return []*client.File{f}, err
	}
	name = names.CanonicalPath(name)
	folder := path.Dir(name)
	if folder == "." {
		folder = ""
	}
	var found []*client.File
	for f, err := range fl.List(ctx, bucket, &client.ListOptions{Folder: &folder, Prefix: name, State: "trashed"}) {
		if err != nil {
			return nil, err
		}
		if f.Path == name && f.DeletedAt != nil {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	slices.SortFunc(found, func(a, b *client.File) int { return b.DeletedAt.Compare(a.DeletedAt.Time) })
	return found, nil
}

// isNoBucket reports that a bucket is what there is none of.
func isNoBucket(err error) bool {
	refusal, ok := errors.AsType[*client.Error](err)
	return ok && strings.Contains(refusal.Detail, "no such bucket")
}

// bucketNames returns the names of all buckets. On a server they are for operators.
func bucketNames(ctx context.Context, fl *files) ([]string, error) {
	if fl.store != nil {
		return fl.store.Buckets(), nil
	}
	r, err := fl.ReportUsage(ctx, nil, nil)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("name a bucket: only operators may list all of them (%w)", err)
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, b := range r.Buckets {
		if b.Backend != "" {
			out = append(out, b.Bucket)
		}
	}
	return out, nil
}

// eachArg calls fn with each argument. After one that fails it goes on, and at the end
// returns that something failed.
func (t *target) eachArg(ctx context.Context, verb string, args []string, fn func(arg string) error) error {
	failed := false
	for _, a := range args {
		switch err := fn(a); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && len(args) == 1:
			return err
		case err != nil:
			t.reportFailure(verb, a, err)
			failed = true
		}
	}
	if failed {
		return errReported
	}
	return nil
}

// completeTime is how long the completion of a path may take.
const completeTime = 2 * time.Second

// completeRef completes BUCKET/PATH where that is quick: on a server, and in a directory
// that nobody else has open. A directory with --config may have its packs elsewhere.
func (t *target) completeRef(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	if t.chooseTarget(cmd) != nil || t.server == "" && t.config != "" {
		return nil, none
	}
	fl, done, err := t.openFiles(ctx)
	if err != nil {
		return nil, none
	}
	defer done()
	bucket, prefix, ok := strings.Cut(typed, "/")
	var out []cobra.Completion
	if !ok {
		found, _ := bucketNames(ctx, fl) // without them there is nothing to complete
		for _, b := range found {
			if strings.HasPrefix(b, typed) {
				out = append(out, b+"/")
			}
		}
		return out, none | cobra.ShellCompDirectiveNoSpace
	}
	for p, err := range fl.Pages(ctx, bucket, &client.PageOptions{ListOptions: client.ListOptions{Prefix: prefix}, Folders: true, Limit: 100}) {
		if err != nil {
			break
		}
		for _, folder := range p.Folders {
			out = append(out, bucket+"/"+folder+"/")
		}
		for _, f := range p.Files {
			out = append(out, bucket+"/"+f.Path)
		}
		break // a page is more than anybody reads
	}
	directive := none
	if len(out) == 1 && strings.HasSuffix(out[0], "/") {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return out, directive
}
