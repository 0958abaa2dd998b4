package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A sweptStore is a metadata store that is told of what a sweep does.
type sweptStore struct {
	manifest.Store
	t       *testing.T
	changes int                      // transactions that may make records
	views   int                      // lists that are open
	broken  map[manifest.FileID]bool // files whose rows cannot be read in a transaction
	before  func()                   // is called before each such transaction; nil for nothing
	most    int                      // versions that one of them has removed
	seeing  func()                   // is called before a time is kept, once; nil for nothing
}

func (s *sweptStore) SetLatestTime(ctx context.Context, t time.Time) error {
	if see := s.seeing; see != nil {
		s.seeing = nil
		see()
	}
	return s.Store.SetLatestTime(ctx, t)
}

func (s *sweptStore) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return func(yield func(*manifest.Listed, error) bool) {
		s.views++
		defer func() { s.views-- }()
		s.Store.List(ctx, bucket, r)(yield)
	}
}

func (s *sweptStore) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if domain != "" {
		s.changes++
		if s.views > 0 {
			s.t.Error("a list is held open while something is changed")
		}
		if s.before != nil {
			s.before()
		}
	}
	return s.Store.Update(ctx, domain, func(tx manifest.Tx) error { return fn(&sweptTx{tx, s, 0}) })
}

type sweptTx struct {
	manifest.Tx
	s       *sweptStore
	removed int // versions
}

func (t *sweptTx) DropManifests(ctx context.Context, ids []manifest.VersionID, at time.Time) error {
	t.removed += len(ids)
	t.s.most = max(t.s.most, t.removed)
	return t.Tx.DropManifests(ctx, ids, at)
}

func (t *sweptTx) Purge(ctx context.Context, id manifest.FileID, at time.Time) error {
	f, err := t.Tx.File(ctx, id)
	if err != nil {
		return err
	}
	t.removed += int(f.Versions)
	t.s.most = max(t.s.most, t.removed)
	return t.Tx.Purge(ctx, id, at)
}

var errBroken = errors.New("row cannot be read")

func (t *sweptTx) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	if t.s.broken[id] {
		return nil, errBroken
	}
	return t.Tx.File(ctx, id)
}

// A swept is a store whose sweeps are watched, with a clock that a test sets.
type swept struct {
	*buckets.Store
	t    *testing.T
	meta *sweptStore
	log  strings.Builder
	now  time.Time
}

// hold is how long buckets of these tests keep what is replaced or deleted.
const hold = 24 * time.Hour

func keepFor(d time.Duration) buckets.Policy {
	return buckets.Policy{Domain: "d", Versions: buckets.Versions{KeepFor: d}, Trash: buckets.Trash{KeepFor: d}}
}

func newSwept(t *testing.T, policies map[string]buckets.Policy) *swept {
	t.Helper()
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: crashfs.New().VFS()})
	must(t, err)
	chunks, err := cas.Open(t.Context(), membackend.New(nil), db.Index("d"), nil)
	must(t, err)
	s := &swept{t: t, meta: &sweptStore{Store: db, t: t, broken: make(map[manifest.FileID]bool)}, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	s.Store, err = buckets.New(t.Context(), s.meta, map[string]*cas.Store{"d": chunks}, policies,
		&buckets.Options{Now: func() time.Time { return s.now }, Log: slog.New(slog.NewTextHandler(&s.log, nil))})
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(s.Close(), db.Close())) })
	return s
}

// replaced returns a file of n versions. trashed returns one in the trash.
func (s *swept) replaced(b *buckets.Bucket, name string, n int) (f *buckets.File) {
	s.t.Helper()
	for i := range n {
		f = put(s.t, b, name, fmt.Sprint(i), nil)
	}
	return f
}

func (s *swept) trashed(b *buckets.Bucket, name string, n int) *buckets.File {
	s.t.Helper()
	f, err := b.Delete(s.t.Context(), s.replaced(b, name, n).ID, nil)
	must(s.t, err)
	return f
}

// pass lets time pass, and sweeps.
func (s *swept) pass(d time.Duration) (buckets.Swept, error) {
	s.now = s.now.Add(d)
	s.meta.changes = 0
	return s.Sweep(s.t.Context())
}

// meanwhile lets something happen when the next sweep has looked, before its first
// transaction.
func (s *swept) meanwhile(do func()) {
	s.meta.before = func() {
		s.meta.before = nil
		do()
	}
}

func (s *swept) wantSwept(d time.Duration, want buckets.Swept) {
	s.t.Helper()
	if done, err := s.pass(d); err != nil || done != want {
		s.t.Errorf("swept %+v, %v, want %+v", done, err, want)
	}
}

// A sweep that has nothing to remove locks nobody out: it makes no transaction,
// however many files have old versions.
func TestSweepLooksFirst(t *testing.T) {
	race.LeaveOut(t)
	s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
	b := bucket(t, s.Store, "b")
	for i := range 250 {
		s.replaced(b, fmt.Sprint("f", i), 2)
		s.trashed(b, "t", 1)
	}
	s.wantSwept(time.Hour, buckets.Swept{})
	if s.meta.changes != 0 {
		t.Errorf("%d transactions to remove nothing", s.meta.changes)
	}
	s.wantSwept(hold, buckets.Swept{Files: 250, Versions: 250}) // by pages, of which none is held open: see sweptStore
}

// Files of few versions go together, and no transaction removes more versions than
// one may.
func TestSweepPurgesTogether(t *testing.T) {
	race.LeaveOut(t)
	s := newSwept(t, map[string]buckets.Policy{"b": {Domain: "d", Trash: buckets.Trash{KeepFor: hold}}})
	b := bucket(t, s.Store, "b")
	for range 40 {
		s.trashed(b, "t", 30)
	}
	for range 160 {
		s.trashed(b, "t", 1)
	}
	s.wantSwept(2*hold, buckets.Swept{Files: 200})
	// By pages of 100 files, each of which may be cut by its versions once or twice.
	if s.meta.changes < 2 || s.meta.changes > 6 {
		t.Errorf("%d transactions for 200 files", s.meta.changes)
	}
	if s.meta.most > 1000 {
		t.Errorf("%d versions were removed at once", s.meta.most)
	}
}

// Files that lose few versions are pruned together, and one that loses many takes
// transactions of its own between them.
func TestSweepPrunesTogether(t *testing.T) {
	race.LeaveOut(t)
	s := newSwept(t, map[string]buckets.Policy{"b": {Domain: "d"}})
	b := bucket(t, s.Store, "b")
	for i := range 150 {
		s.replaced(b, fmt.Sprintf("f%03d", i), 3)
	}
	s.replaced(b, "f070 is long", 1100)
	must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"b": {Domain: "d", Versions: buckets.Versions{Keep: 1}}}))
	s.wantSwept(0, buckets.Swept{Versions: 300 + 1099})
	if s.meta.changes > 6 || s.meta.most > 1000 {
		t.Errorf("%d transactions, of which one removed %d versions", s.meta.changes, s.meta.most)
	}
	s.wantSwept(0, buckets.Swept{})
	wantUsage(t, b, 151, 151, 154, 0, 0)
}

// What cannot be swept keeps nothing else, and the error names it. Where nothing
// can be swept, that ends soon.
func TestSweepPassesOver(t *testing.T) {
	race.LeaveOut(t)
	s := newSwept(t, map[string]buckets.Policy{"a": keepFor(hold), "b": keepFor(hold)})
	a, b := bucket(t, s.Store, "a"), bucket(t, s.Store, "b")
	broken := []*buckets.File{s.trashed(a, "t", 1), s.replaced(a, "f", 2)}
	for _, f := range broken {
		s.meta.broken[manifest.FileID(f.ID)] = true
	}
	for i := range 20 {
		s.trashed(a, "t", 1)
		s.replaced(a, fmt.Sprint("g", i), 2)
		s.trashed(b, "t", 1)
	}
	done, err := s.pass(2 * hold)
	if want := (buckets.Swept{Files: 40, Versions: 20}); done != want || !errors.Is(err, errBroken) {
		t.Errorf("swept %+v, %v, want %+v", done, err, want)
	}
	for _, f := range broken {
		if err == nil || !strings.Contains(err.Error(), f.ID) || !strings.Contains(err.Error(), `bucket "a"`) {
			t.Errorf("the error names no %s: %v", f.ID, err)
		}
	}
	clear(s.meta.broken)
	s.wantSwept(0, buckets.Swept{Files: 1, Versions: 1})

	// However many there are, while others can be swept between them.
	all := make([]manifest.FileID, 40)
	for i := range all {
		all[i] = manifest.FileID(s.trashed(a, "t", 1).ID)
	}
	slices.Sort(all)
	for i := 0; i < len(all); i += 2 {
		s.meta.broken[all[i]] = true
	}
	done, err = s.pass(2 * hold)
	if want := (buckets.Swept{Files: 20}); done != want || err == nil || strings.Count(err.Error(), errBroken.Error()) != 10 || !strings.Contains(err.Error(), "10 more") {
		t.Errorf("swept %+v, want %+v, and the error %v", done, want, err)
	}
	clear(s.meta.broken)
	s.wantSwept(0, buckets.Swept{Files: 20})

	for range 100 {
		s.meta.broken[manifest.FileID(s.trashed(a, "t", 1).ID)] = true
	}
	if done, err := s.pass(2 * hold); done != (buckets.Swept{}) || !errors.Is(err, errBroken) || s.meta.changes > 20 {
		t.Errorf("swept %+v, %v, in %d transactions that fail", done, err, s.meta.changes)
	}
}

// What happens between a sweep's look and its transaction counts.
func TestSweepLooksAgain(t *testing.T) {
	for name, n := range map[string]int{"together": 2, "alone": 1} {
		t.Run(name+", trash", func(t *testing.T) {
			s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
			b := bucket(t, s.Store, "b")
			var restored, purged []string
			for i := range n {
				restored = append(restored, s.trashed(b, fmt.Sprint("f", i), 1).ID)
			}
			for range n - 1 {
				purged = append(purged, s.trashed(b, "g", 1).ID)
			}
			s.meanwhile(func() {
				for _, id := range restored {
					_, err := b.Undelete(t.Context(), id)
					must(t, err)
				}
				for _, id := range purged {
					must(t, b.Purge(t.Context(), id, nil))
				}
			})
			s.wantSwept(2*hold, buckets.Swept{})
			wantUsage(t, b, int64(n), int64(n), int64(n), 0, 0)
		})
		t.Run(name+", versions", func(t *testing.T) {
			s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
			b := bucket(t, s.Store, "b")
			var files []string
			for i := range n {
				files = append(files, s.replaced(b, fmt.Sprint("f", i), 2).ID)
			}
			s.meanwhile(func() {
				for _, id := range files {
					must(t, b.DeleteVersion(t.Context(), id, 2))
				}
			})
			s.wantSwept(2*hold, buckets.Swept{})
			for _, id := range files {
				if got := read(t, b, id, nil); got != "0" {
					t.Errorf("%q is left", got)
				}
			}
		})
	}
}

// A policy that keeps more holds for what a sweep under way has not removed yet.
func TestSweepFollowsPolicy(t *testing.T) {
	race.LeaveOut(t)
	for name, kept := range map[string]buckets.Policy{"longer": keepFor(9 * hold), "for ever": {Domain: "d"}} {
		t.Run(name, func(t *testing.T) {
			s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
			b := bucket(t, s.Store, "b")
			for i := range 5 {
				s.replaced(b, fmt.Sprint("f", i), 2)
			}
			for range 250 {
				s.trashed(b, "t", 1)
			}
			s.meta.before = func() {
				if s.meta.changes == 2 {
					must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"b": kept}))
				}
			}
			s.wantSwept(2*hold, buckets.Swept{Files: 100})
			wantUsage(t, b, 5, 160, 10, 150, 150)
		})
	}
}

// A clock that jumps while a sweep is under way removes nothing early.
func TestSweepByAClockThatJumpsMeanwhile(t *testing.T) {
	race.LeaveOut(t)
	s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
	b := bucket(t, s.Store, "b")
	for range 150 { // more than one page
		s.trashed(b, "t", 1)
	}
	s.wantSwept(hold, buckets.Swept{})
	for i := range 150 {
		s.trashed(b, "t", 1)
		s.replaced(b, fmt.Sprint("f", i), 2)
	}
	s.meta.before = func() { s.now = s.now.AddDate(1, 0, 0) }
	s.wantSwept(time.Hour, buckets.Swept{Files: 150})
}

// A sweep that has looked at the clock before another one does not take the time
// back that the other has seen.
func TestSweepsSideBySide(t *testing.T) {
	s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
	s.wantSwept(0, buckets.Swept{})
	begun := s.now
	s.meta.seeing = func() {
		s.wantSwept(time.Hour, buckets.Swept{})
		s.now = begun
	}
	s.wantSwept(time.Minute, buckets.Swept{})
	f := put(t, bucket(t, s.Store, "b"), "f", "x", nil)
	if want := begun.Add(time.Hour + time.Minute); !f.CreatedAt.Equal(want) {
		t.Errorf("the file was made at %s, want %s", f.CreatedAt, want)
	}
}

// What was moved to the trash while a bucket had one goes when it has none.
func TestTrashIsTurnedOff(t *testing.T) {
	s := newSwept(t, map[string]buckets.Policy{"b": {Domain: "d"}})
	b := bucket(t, s.Store, "b")
	f := s.trashed(b, "t", 1)
	s.wantSwept(time.Hour, buckets.Swept{})
	must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"b": {Domain: "d", Trash: buckets.Trash{Off: true}}}))
	s.wantSwept(time.Minute, buckets.Swept{Files: 1})
	_, err := b.Stat(t.Context(), f.ID, &buckets.GetOptions{Trashed: true})
	wantErr(t, "stat", err, fs.ErrNotExist)
}

// Rules for versions hold in the trash.
func TestVersionsInTheTrash(t *testing.T) {
	for name, v := range map[string]buckets.Versions{"keep": {Keep: 2}, "keep for": {KeepFor: hold}, "off": {Off: true}} {
		t.Run(name, func(t *testing.T) {
			s := newSwept(t, map[string]buckets.Policy{"b": {Domain: "d"}})
			b := bucket(t, s.Store, "b")
			f := s.trashed(b, "t", 5)
			s.wantSwept(2*hold, buckets.Swept{})
			must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"b": {Domain: "d", Versions: v}}))
			left := max(v.Keep, 1)
			s.wantSwept(0, buckets.Swept{Versions: int64(5 - left)})
			if got := read(t, b, f.ID, &buckets.GetOptions{Trashed: true}); got != "4" {
				t.Errorf("the newest version is %q", got)
			}
			wantUsage(t, b, 0, int64(left), 0, 1, int64(left))
		})
	}
}

// Versions that were made while the clock was years ahead keep none of those
// before and behind them.
func TestVersionsFromYearsAhead(t *testing.T) {
	s := newSwept(t, map[string]buckets.Policy{"b": keepFor(hold)})
	b := bucket(t, s.Store, "b")
	f := s.replaced(b, "f", 2)
	s.wantSwept(0, buckets.Swept{})
	s.now = s.now.AddDate(10, 0, 0)
	s.replaced(b, "f", 3)
	s.now = s.now.AddDate(-10, 0, 1)
	s.replaced(b, "f", 2)
	s.wantSwept(hold, buckets.Swept{Versions: 1}) // replaced before the clock went wrong
	s.wantSwept(time.Millisecond, buckets.Swept{Versions: 5})
	if got := versionsOf(t, b, f.ID); fmt.Sprint(got) != "[7]" {
		t.Errorf("versions %v are left", got)
	}
}

// The log says of each bucket what was removed.
func TestSweepIsLogged(t *testing.T) {
	s := newSwept(t, map[string]buckets.Policy{"a": keepFor(hold), "b": keepFor(hold), "c": keepFor(hold)})
	s.trashed(bucket(t, s.Store, "a"), "t", 3)
	s.replaced(bucket(t, s.Store, "b"), "f", 3)
	s.wantSwept(2*hold, buckets.Swept{Files: 1, Versions: 2})
	for _, want := range []string{"msg=swept bucket=a files=1 versions=0 uploads=0 links=0 held=0 took=", "msg=swept bucket=b files=0 versions=2 uploads=0 links=0 held=0 took="} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log says\n%s\nand not %q", s.log.String(), want)
		}
	}
	if n := strings.Count(s.log.String(), "msg=swept"); n != 2 {
		t.Errorf("%d lines for two buckets", n)
	}
	s.log.Reset()
	s.wantSwept(time.Hour, buckets.Swept{})
	if s.log.Len() > 0 {
		t.Errorf("nothing was swept, and the log says %s", s.log.String())
	}
}
