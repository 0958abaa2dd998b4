package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets/alyx"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/schema"
)

func newImport(t *target) *cobra.Command {
	return newGroup("import", "Bring over what another system has stored", "alyx", newImportAlyx(t))
}

// alyxImport is a call of import alyx.
type alyxImport struct {
	*target
	db, alyxConfig string
	only           []string
	told           int // files that came over with changes
	opts           alyx.Options

	files, bytes pace
}

func newImportAlyx(t *target) *cobra.Command {
	im := &alyxImport{target: t}
	cmd := &cobra.Command{
		Use: "alyx --db FILE --config alyx.yml --schema schema.yaml [flags]", Short: "Bring over the files that Alyx has stored", Args: wantArgs(cobra.NoArgs),
		Long: `Bring over the files that Alyx has stored: the rows of _alyx_files in its SQLite
database, and the files of its backends, which alyx.yml names. Nothing of Alyx is
changed, and it may be running. Files keep their IDs, times and metadata; each is
compared with its size and checksum before it is stored. Where a folder would have
two files of one name, the later ones get a number.

It can be given again, after it was interrupted or when Alyx has stored more: what
has come over is passed over, and what was deleted since stays deleted. The store in
--data must not be served meanwhile.

The backends of --config are where packs go, too: beside Alyx's files in the same
directory. Lines that only Alyx has, base_path and bucket_prefix, are read here and
nowhere else: take them out before you serve. Where Alyx's files lie in other
places than packs shall, give its own file as --alyx-config.`,
		Example: `  cairn import alyx --db alyx.db --config alyx.yml --schema schema.yaml --dry-run
  cairn import alyx --db alyx.db --config alyx.yml --schema schema.yaml --data ./cairn-data`,
		RunE: func(cmd *cobra.Command, _ []string) error { return im.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&im.db, "db", "", "Alyx's SQLite database")
	f.StringVar(&im.alyxConfig, "alyx-config", "", "Alyx's alyx.yml, if --config names other places")
	f.StringSliceVar(&im.only, "bucket", nil, "import this bucket only; may be repeated")
	f.StringVar(&im.opts.Owner, "owner", "", "owner of files of which the database does not tell one")
	f.StringVar(&im.opts.OwnerKey, "owner-from", "", "key of the metadata that tells a file's owner")
	f.BoolVar(&im.opts.DryRun, "dry-run", false, "read and verify everything, and store nothing")
	return cmd
}

func (im *alyxImport) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	switch {
	case im.db == "":
		return usageError{errors.New("import alyx: want --db, the database of Alyx")}
	case im.schema == "" || im.config == "" && im.alyxConfig == "":
		return usageError{errors.New("import alyx: want --schema and --config, or --alyx-config, as Alyx has them")}
	}
	if sqliteDriver == "" {
		return errors.New("import alyx: this cairn was built without SQLite")
	}
	db, err := openSQLite(im.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	from, to, err := im.readAlyxSettings()
	if err != nil {
		return err
	}
	src, err := im.findSource(ctx, db, from, to)
	if err != nil {
		return err
	}
	opts, err := im.configureStore(to)
	if err != nil {
		return err
	}
	s, err := local.Open(ctx, im.data, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.closeStore(context.WithoutCancel(ctx), s)) }()
	im.opts.Journal = filepath.Join(im.data, "import-alyx.log")
	im.opts.Tell = func(n *alyx.Note) { im.tell(n) }
	im.opts.Progress = func(r *alyx.Report) {
		s := im.describeProgress(r, time.Now())
		im.showState(&s)
	}
	r, err := alyx.Import(ctx, s, src, &im.opts)
	if im.told > maxChangesTold {
		printf(im.stderr, "cairn: %d more files have other names than before, or lack something\n", im.told-maxChangesTold)
	}
	if serr := im.showImported(cmd, r); err == nil {
		err = serr
	}
	if err == nil && r.Failed > 0 {
		err = errReported
	}
	return err
}

// openSQLite opens a database for reading alone.
func openSQLite(file string) (*sql.DB, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("--db: %w", err)
	}
	switch info, err := os.Stat(abs); { // SQLite does not name the file, and waits for a pipe
	case err != nil:
		return nil, fmt.Errorf("--db: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("--db %s is no file: its mode is %s", file, info.Mode())
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // of a drive
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: "mode=ro&_pragma=busy_timeout(10000)"}
	return sql.Open(sqliteDriver, u.String())
}

// readAlyxSettings reads where Alyx's files lie, and where those of the store do.
func (im *alyxImport) readAlyxSettings() (from *schema.Config, to settings, err error) {
	name := im.alyxConfig
	if name == "" {
		name = im.config
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, to, fmt.Errorf("--config: %w", err)
	}
	if from, err = schema.ParseAlyxStorage(name, text, os.LookupEnv); err != nil {
		return nil, to, err
	}
	if im.alyxConfig != "" {
		to, err = im.readSettings()
		return from, to, err
	}
	to.config = from
	if text, err = os.ReadFile(im.schema); err != nil {
		return nil, to, fmt.Errorf("--schema: %w", err)
	}
	if to.schema, err = schema.Parse(im.schema, text, to.config); err != nil {
		return nil, to, err
	}
	for name, b := range from.Storage.Backends {
		if b.S3 != nil && b.S3.Bucket == "" {
			return nil, to, fmt.Errorf("backend %q names no S3 bucket for Cairn's packs: add \"bucket: NAME\" to it in %s, or give another --config and this one as --alyx-config",
				name, im.config)
		}
	}
	return from, to, nil
}

// findSource finds the files of each bucket that the database has files of.
func (im *alyxImport) findSource(ctx context.Context, db *sql.DB, from *schema.Config, to settings) (*alyx.Source, error) {
	found, err := alyx.Buckets(ctx, db)
	if isUnwritable(err) {
		err = fmt.Errorf("%w; SQLite wants to write beside it: give a copy, with its -wal and -shm if they are there, in a directory that you may write to", err)
	}
	if err != nil {
		return nil, fmt.Errorf("--db %s: %w", im.db, err)
	}
	if len(im.only) > 0 {
		for _, name := range im.only {
			if found[name] == 0 {
				return nil, fmt.Errorf("--bucket %s: the database has no files of it, but of %s", name, strings.Join(slices.Sorted(maps.Keys(found)), ", "))
			}
		}
		maps.DeleteFunc(found, func(name string, _ int64) bool { return !slices.Contains(im.only, name) })
	}
	src := &alyx.Source{DB: db, Files: make(map[string]alyx.Files)}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		b := to.schema.Buckets[name]
		if b == nil {
			return nil, fmt.Errorf("the database has %d files of bucket %q, which %s does not declare: declare it, or give --bucket for each of the others",
				found[name], name, im.schema)
		}
		if src.Files[name], err = openAlyxFiles(ctx, from, b.Backend, name); err != nil {
			return nil, err
		}
		if dir, ok := src.Files[name].(alyx.Dir); ok {
			if err := im.checkApart(string(dir), name, to.config); err != nil {
				return nil, err
			}
		}
	}
	return src, nil
}

// isUnwritable reports SQLite's error of a database with a log of its own in a
// directory that cannot be written to.
func isUnwritable(err error) bool {
	const readOnly = 8 // SQLITE_READONLY
	var coded interface{ Code() int }
	return errors.As(err, &coded) && coded.Code()&0xff == readOnly
}

// checkApart fails if Alyx's directory of a bucket is one of Cairn's own, in one, or
// around one: it is removed by whoever has no need of Alyx any more.
func (im *alyxImport) checkApart(dir, bucket string, to *schema.Config) error {
	own := []string{filepath.Join(im.data, "meta"), filepath.Join(im.data, "packs")}
	for _, b := range to.Storage.Backends {
		if b.Filesystem != nil {
			own = append(own, filepath.Join(b.Filesystem.Path, "packs"))
		}
	}
	for _, o := range own {
		if isWithin(dir, o) || isWithin(o, dir) {
			return fmt.Errorf("bucket %q of Alyx lies in %s, and Cairn's own files in %s: give another --data, or another path in --config, and this file as --alyx-config",
				bucket, dir, o)
		}
	}
	return nil
}

// isWithin reports whether a directory is another one, or lies in it.
func isWithin(dir, parent string) bool {
	rel, err := filepath.Rel(resolveDir(parent), resolveDir(dir))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolveDir returns the path of a directory without links, as far as it is there.
func resolveDir(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	if parent := filepath.Dir(dir); parent != dir {
		return filepath.Join(resolveDir(parent), filepath.Base(dir))
	}
	return dir
}

// openAlyxFiles opens the files that Alyx keeps of a bucket.
func openAlyxFiles(ctx context.Context, from *schema.Config, backend, bucket string) (alyx.Files, error) {
	b := from.Storage.Backends[backend]
	switch {
	case b == nil:
		return nil, fmt.Errorf("bucket %q lies in backend %q, which Alyx's configuration does not have: it has %s", bucket, backend,
			strings.Join(slices.Sorted(maps.Keys(from.Storage.Backends)), ", "))
	case b.S3 != nil:
		s := b.S3
		o, err := s3backend.Open(ctx, &s3backend.Options{Bucket: b.AlyxPrefix() + bucket, Endpoint: s.Endpoint, Region: s.Region, PathStyle: s.ForcePathStyle,
			AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken, Checksums: s.Checksums})
		return alyx.Objects{Backend: o}, err
	}
	dir := b.AlyxPrefix() + bucket
	dir = filepath.Join(b.Filesystem.Path, dir)
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("bucket %q: Alyx's directory of its files: %w; correct path or base_path of backend %q", bucket, err, backend)
	}
	return alyx.Dir(dir), nil
}

// describeProgress returns how far the import is. How much is to come is known in
// files alone.
func (im *alyxImport) describeProgress(r *alyx.Report, now time.Time) progressState {
	done := r.Imported + r.Present + r.Deleted + r.Failed
	im.files.note(now, done)
	im.bytes.note(now, r.Bytes)
	s := progressState{files: r.Total, doneFiles: done, doneBytes: r.Bytes, inBytes: true, whole: r.Total > 0, rate: im.bytes.rate()}
	if rate := im.files.rate(); rate > 0 && done < r.Total {
		s.left = time.Duration(float64(r.Total-done) / rate * float64(time.Second))
	}
	return s
}

// maxChangesTold is how many files are told of that came over with another name or
// without something. The others are counted.
const maxChangesTold = 20

// tell tells of a file that did not come over as it was.
func (im *alyxImport) tell(n *alyx.Note) {
	text := n.Changed
	if n.Err != nil {
		text = n.Err.Error()
	} else if im.told++; im.told > maxChangesTold {
		return
	}
	printf(im.stderr, "cairn: %s/%s (%s): %s\n", n.Bucket, n.ID, names.Clip(n.Name), text)
}

func (im *alyxImport) showImported(cmd *cobra.Command, r *alyx.Report) error {
	verb := "imported"
	if im.opts.DryRun {
		verb = "would be imported"
	}
	text := fmt.Sprintf("%d of %d files %s, %s", r.Imported, r.Total, verb, bytesText(r.Bytes))
	for _, more := range []struct {
		n    int64
		what string
	}{{r.Present, "there already"}, {r.Deleted, "deleted since they came over"}, {r.Changed, "changed on the way"}, {r.Failed, "FAILED"}} {
		if more.n > 0 {
			text += fmt.Sprintf("; %d %s", more.n, more.what)
		}
	}
	return im.showValue(cmd, r, "%s\n", text)
}
