package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// A ledger keeps the lines of an audit in memory. It outlives the stores.
type ledger struct {
	mu    sync.Mutex
	text  bytes.Buffer
	fails error // of each write, if not nil
}

func (l *ledger) write(lines []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		return l.fails
	}
	l.text.Write(lines)
	return nil
}

func (l *ledger) failWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = err
}

// An auditLine is what a line of an audit says.
type auditLine struct {
	Commit uint64
	N      int
	buckets.AuditEntry
}

func parseAudit(t *testing.T, text string) (out []auditLine) {
	t.Helper()
	for line := range strings.Lines(text) {
		var l auditLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, l)
	}
	return out
}

func (l *ledger) lines(t *testing.T) []auditLine {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	return parseAudit(t, l.text.String())
}

// await returns the lines when there are n.
func (l *ledger) await(t *testing.T, n int) []auditLine {
	t.Helper()
	for range 1000 {
		if lines := l.lines(t); len(lines) >= n {
			return lines
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not %d lines:\n%s", n, &l.text)
	return nil
}

// onBoth runs a test with the rows in Pebble and in PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, options func() *local.Options)) {
	t.Run("Pebble", func(t *testing.T) { test(t, options) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres(t)) })
}

// Every change has its line, which says what was done by whom and to what.
func TestAuditLines(t *testing.T) {
	onBoth(t, func(t *testing.T, options func() *local.Options) {
		ctx, l, opts := t.Context(), &ledger{}, options()
		opts.Audit = &buckets.Audit{Write: l.write, Names: true}
		s, err := local.Open(ctx, t.TempDir(), opts)
		must(t, err)
		defer s.Close()
		ann := bucket(t, s, "a").As(&access.Principal{ID: "ann", Operator: true})
		token, key, err := s.Keys().New(access.ActAs(ctx, "command line", "root"), manifest.APIKey{Name: "deploy", Buckets: []string{"a"}, Ops: []string{"delete", "read"}}, time.Hour)
		must(t, err)
		keyed, err := s.Keys().Principal(ctx, token)
		must(t, err)
		byKey := bucket(t, s, "a").As(keyed)
		put := func(b *buckets.Bucket, name string) *buckets.File {
			t.Helper()
			f, err := b.Put(ctx, name, strings.NewReader("content of "+name), nil)
			must(t, err)
			return f
		}
		f := put(ann, "f")
		ann.Replace(ctx, f.ID, strings.NewReader("more"), nil)
		name, folder, tags := "g", "x", []string{"t"}
		_, err = ann.Update(ctx, f.ID, &buckets.Patch{Name: &name, Folder: &folder, Tags: &tags})
		must(t, err)
		copied, err := ann.Copy(ctx, f.ID, bucket(t, s, "b").As(&access.Principal{ID: "ann", Operator: true}), nil)
		must(t, err)
		_, err = ann.RestoreVersion(ctx, f.ID, 1)
		must(t, err)
		must(t, ann.DeleteVersion(ctx, f.ID, 2))
		_, err = byKey.Delete(ctx, f.ID, nil)
		must(t, err)
		_, err = ann.Undelete(ctx, f.ID)
		must(t, err)
		must(t, byKey.Purge(ctx, f.ID, nil))
		g, _, err := ann.Grants().Sign(ctx, access.Grant{Op: access.GrantUpload, Name: "by-url"}, time.Minute)
		must(t, err)
		must(t, ann.Grants().Revoke(ctx, g.ID))
		must(t, s.Keys().Drop(access.ActFor(ctx, &access.Principal{ID: "boss", Operator: true}), key.ID))
		bucket(t, s, "a").Put(ctx, "own", strings.NewReader("the program's"), nil)
		next := options()
		next.Buckets["c"] = buckets.Policy{Domain: "local"}
		changed := next.Buckets["a"]
		changed.Limits.MaxFileSize = 1 << 30
		next.Buckets["a"] = changed
		must(t, s.SetPolicies(access.ActAs(ctx, "reload", "SIGHUP"), next.Buckets))
		must(t, s.Close())

		var got []string
		for _, l := range l.lines(t) {
			who := l.Actor.Kind + " " + l.Actor.User + l.Actor.Key + l.Actor.Name
			what := strings.TrimSpace(l.Path + " " + strings.Join(l.Fields, ","))
			got = append(got, fmt.Sprintf("%s|%s|%s|%s|%d", l.Action, strings.TrimSpace(who), l.Bucket, what, l.Number))
			if l.Commit == 0 || l.Time.IsZero() {
				t.Errorf("line: %+v", l)
			}
		}
		want := []string{"bucket.create|program|a||0", "bucket.create|program|b||0", "key.create|command line root|||0",
			"file.create|user ann|a|f|1", "file.version|user ann|a|f|2", "file.move|user ann|a|x/g|0", "file.metadata|user ann|a|x/g tags|0",
			"file.copy|user ann|b|x/g|1", "version.restore|user ann|a|x/g|3", "version.remove|user ann|a|x/g|2", "file.trash|key " + key.ID + "|a|x/g|0",
			"file.restore|user ann|a|x/g|0", "file.purge|key " + key.ID + "|a|x/g|0", "signing-key.create|user ann|||0", "url.sign|user ann|a||0", "url.revoke|user ann|a||0",
			"key.revoke|user boss|||0", "file.create|program|a|own|1", "bucket.create|reload SIGHUP|c||0", "schema.apply|reload SIGHUP|||0"}
		slices.Sort(got[:2]) // buckets come in no order
		if !slices.Equal(got, want) {
			t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, l := range l.lines(t) {
			switch l.Action {
			case "file.copy":
				if l.FromFile != f.ID || l.File != copied.ID || l.Version != copied.ManifestID {
					t.Errorf("copy: %+v", l)
				}
			case "file.move":
				if l.FromPath != "f" {
					t.Errorf("move: %+v", l)
				}
			case "version.restore":
				if l.FromNumber != 1 || l.File != f.ID {
					t.Errorf("restored: %+v", l)
				}
			case "file.purge":
				if l.Versions != 2 {
					t.Errorf("purge: %+v", l)
				}
			case "schema.apply":
				if !slices.Equal(l.Added, []string{"c"}) || !slices.Equal(l.Changed, []string{"a"}) || l.Removed != nil {
					t.Errorf("schema: %+v", l)
				}
			case "key.create":
				if l.Key != key.ID || l.Name != "deploy" || l.Expires == nil || !slices.Equal(l.Ops, []string{"delete", "read"}) {
					t.Errorf("key: %+v", l)
				}
			case "url.sign":
				if l.Grant != g.ID || l.Operation != "upload" {
					t.Errorf("URL: %+v", l)
				}
			}
		}
		if secret := token[strings.LastIndex(token, "_")+1:]; strings.Contains(l.text.String(), secret) {
			t.Error("the audit has the secret of a key")
		}
	})
}

// Names are written only where they are asked for. What sweeps by itself says so.
func TestAuditOfSweeper(t *testing.T) {
	ctx, l, opts := t.Context(), &ledger{}, options()
	opts.Audit = &buckets.Audit{Write: l.write}
	var mu sync.Mutex
	now := time.Now()
	opts.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s, err := local.Open(ctx, t.TempDir(), opts)
	must(t, err)
	defer s.Close()
	b := bucket(t, s, "a")
	f, err := b.Put(ctx, "secret-name", strings.NewReader("x"), &buckets.PutOptions{Folder: "secret-folder"})
	must(t, err)
	_, err = b.Delete(ctx, f.ID, nil)
	must(t, err)
	mu.Lock()
	now = now.Add(40 * 24 * time.Hour)
	mu.Unlock()
	must(t, s.TrustClock(ctx))
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	var purge auditLine
	for range 1000 {
		lines := l.lines(t)
		if i := slices.IndexFunc(lines, func(l auditLine) bool { return l.Action == "file.purge" }); i >= 0 {
			purge = lines[i]
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	must(t, <-ended)
	if purge.Actor.Kind != "sweeper" || purge.File != f.ID || purge.Bucket != "a" {
		t.Errorf("purged: %+v", purge)
	}
	if i := slices.IndexFunc(l.lines(t), func(l auditLine) bool { return l.Action == "schema.apply" && l.Actor.Kind == "start" }); i < 0 {
		t.Errorf("no line of the start:\n%s", &l.text)
	}
	if strings.Contains(l.text.String(), "secret-") {
		t.Errorf("names in the audit:\n%s", &l.text)
	}
}

// Without an audit nothing is noted, and what an earlier process has noted waits.
func TestAuditOff(t *testing.T) {
	onBoth(t, func(t *testing.T, options func() *local.Options) {
		dir, l := t.TempDir(), &ledger{}
		l.failWith(errors.New("the disk is full"))
		change := func(audit *buckets.Audit, name string) {
			t.Helper()
			opts := options()
			opts.Audit = audit
			s, err := local.Open(t.Context(), dir, opts)
			must(t, err)
			_, err = bucket(t, s, "a").Put(t.Context(), name, strings.NewReader(name), nil)
			must(t, errors.Join(err, s.Close()))
		}
		audit := &buckets.Audit{Write: l.write, Names: true}
		change(nil, "before")
		change(audit, "waits")
		change(nil, "between")
		l.failWith(nil)
		change(audit, "after")
		var got []string
		for _, l := range l.lines(t) {
			if l.Path != "" {
				got = append(got, l.Path)
			}
		}
		if !slices.Equal(got, []string{"waits", "after"}) {
			t.Errorf("lines of %q", got)
		}
	})
}

// While lines cannot be written changes go on, the log says so, and no line is lost.
func TestAuditThatCannotBeWritten(t *testing.T) {
	l, opts, log := &ledger{}, options(), &syncBuffer{}
	opts.Log = slog.New(slog.NewTextHandler(log, nil))
	opts.Audit = &buckets.Audit{Write: l.write, Names: true}
	s, err := local.Open(t.Context(), t.TempDir(), opts)
	must(t, err)
	defer s.Close()
	l.await(t, 2)
	l.failWith(errors.New("no space left"))
	for i := range 50 {
		_, err := bucket(t, s, "a").Put(t.Context(), fmt.Sprint(i), strings.NewReader(fmt.Sprint(i)), nil)
		must(t, err)
	}
	for range 1000 {
		if strings.Contains(log.String(), "no space left") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := strings.Count(log.String(), "its lines wait in the database"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log)
	}
	l.failWith(nil)
	lines := l.await(t, 52)
	for i, l := range lines[2:] {
		if l.Path != fmt.Sprint(i) || i > 0 && l.Commit <= lines[i+1].Commit {
			t.Errorf("line %d: %+v", i, l)
		}
	}
}

// A syncBuffer may be written and read side by side.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Wherever the machine dies, each acknowledged change has its line after a restart, once
// or more often with the same number.
func TestAuditCrash(t *testing.T) {
	race.LeaveOut(t)
	limit := 20
	if testing.Short() {
		limit = 4
	}
	var l *ledger // of the last run of work: its lines are on another disk
	open := func(f *crashfs.FS) (*buckets.Store, error) {
		opts := crashOptions(f)
		opts.Audit = &buckets.Audit{Write: l.write}
		return local.Open(t.Context(), "store", opts)
	}
	work := func(f *crashfs.FS, ack func(string)) {
		l = &ledger{}
		s, err := open(f)
		if err != nil {
			return // crashed
		}
		defer s.Close()
		b, err := s.Bucket("demo")
		if err != nil {
			return
		}
		for i := range 6 {
			file, err := b.Put(t.Context(), fmt.Sprint(i), strings.NewReader(fmt.Sprint("content ", i)), nil)
			if err != nil {
				return
			}
			ack("file.create " + file.ID)
			if i%2 == 0 {
				if _, err := b.Delete(t.Context(), file.ID, nil); err != nil {
					return
				}
				ack("file.trash " + file.ID)
			}
			_, key, err := s.Keys().New(t.Context(), manifest.APIKey{Operator: true}, 0)
			if err != nil {
				return
			}
			ack("key.create " + key.ID)
		}
	}
	crashfs.Run(t, &crashfs.Options{Limit: soak(limit), Percents: []int{0, 100}}, work, func(t *testing.T, f *crashfs.FS, acked []string) {
		s, err := open(f)
		must(t, err)
		must(t, s.Close())
		at := make(map[string]string)
		for _, line := range l.lines(t) {
			what, number := line.Action+" "+line.File+line.Key, fmt.Sprint(line.Commit, " ", line.N)
			if was, again := at[what]; again && was != number {
				t.Errorf("%s has numbers %s and %s", what, was, number)
			}
			at[what] = number
		}
		for _, what := range acked {
			if at[what] == "" {
				t.Errorf("no line of %s", what)
			}
		}
	})
}

// A file of an audit may be moved away and removed under its writer, or be told to be
// opened anew, and begins again behind a line that was cut.
func TestAuditFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	must(t, os.WriteFile(name, []byte("{\"commit\":1}\n{\"cut"), 0o600))
	a, err := local.NewAuditFile(name)
	must(t, err)
	holds := func(name, want string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q: %v", name, got, want, err)
		}
	}
	must(t, a.Write([]byte("one\n")))
	holds(name, "{\"commit\":1}\n{\"cut\none\n")
	must(t, os.Rename(name, name+".1"))
	must(t, a.Write([]byte("two\n")))
	holds(name, "two\n")
	must(t, os.Remove(name))
	must(t, a.Write([]byte("three\n")))
	holds(name, "three\n")
	must(t, os.WriteFile(name, nil, 0o600)) // as copytruncate leaves it
	must(t, a.Write([]byte("four\n")))
	holds(name, "four\n")
	a.Reopen()
	a.Reopen()
	must(t, a.Write([]byte("five\n")))
	holds(name, "four\nfive\n")
	must(t, errors.Join(a.Close(), a.Close()))
	holds(name+".1", "{\"commit\":1}\n{\"cut\none\n")
	if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := local.NewAuditFile(filepath.Join(name, "below")); err == nil || !strings.Contains(err.Error(), "audit") {
		t.Errorf("a file that cannot be opened: %v", err)
	}
}

// A full disk of the audit is an error of Write, and nothing is taken for written.
func TestAuditFileFull(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /dev/full")
	}
	name := filepath.Join(t.TempDir(), "audit.log")
	must(t, os.Symlink("/dev/full", name))
	a, err := local.NewAuditFile(name)
	must(t, err)
	for range 2 {
		if err := a.Write([]byte("line\n")); err == nil {
			t.Error("a line was written to a full disk")
		}
	}
	must(t, os.Remove(name))
	must(t, a.Write([]byte("line\n")))
	if got, err := os.ReadFile(name); err != nil || string(got) != "line\n" {
		t.Errorf("written %q, %v", got, err)
	}
}
