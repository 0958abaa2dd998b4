package local_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

var errKilled = errors.New("the process was killed")

// A killable is a database whose process can be killed before a transaction, or
// before it learns how one went.
type killable struct {
	local.Database
	left atomic.Int64 // calls until then; negative for never
}

func (d *killable) dies() bool {
	n := d.left.Load()
	if n > 0 {
		d.left.Add(-1)
	}
	return n == 0
}

func (d *killable) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	if d.dies() {
		return nil, errKilled
	}
	c, err := d.Database.Update(ctx, domain, fn)
	if d.dies() {
		return c, errKilled
	}
	return c, err
}

func (d *killable) SetLatestTime(ctx context.Context, t time.Time) error {
	if d.dies() {
		return errKilled
	}
	return d.Database.SetLatestTime(ctx, t)
}

func (d *killable) Written(ctx context.Context, seqs ...uint64) error {
	if d.left.Load() == 0 {
		return errKilled
	}
	return d.Database.Written(ctx, seqs...)
}

// A retention is a store whose files come, change and go, beside the model of what
// it keeps.
type retention struct {
	retained
	t        *testing.T
	r        *rand.Rand
	fs       *crashfs.FS // nil where the machine cannot crash
	dir      string
	opts     func() *local.Options
	policies map[string]buckets.Policy
	now      time.Time // of the machine's clock
	s        *buckets.Store
	db       *killable
	ops      int
	names    int

	swept                      buckets.Swept // in all
	sweeps, refused            int
	killed, crashed, overtaken int
	partly                     int // sweeps that did some of what they had to
	rebuilt                    int
}

func newRetention(t *testing.T, seed uint64) *retention {
	return &retention{t: t, r: rand.New(rand.NewPCG(seed, 0)), policies: map[string]buckets.Policy{"a": {Trash: buckets.Trash{Forever: true}}, "b": {Trash: buckets.Trash{Forever: true}}},
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (m *retention) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("operation %d, at %s, seen %s: %s\na: %+v %+v\nb: %+v %+v", m.ops, m.now.Format(time.DateTime), m.seen.Format(time.DateTime),
		fmt.Sprintf(format, args...), m.policies["a"].Versions, m.policies["a"].Trash, m.policies["b"].Versions, m.policies["b"].Trash)
}

func (m *retention) must(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.fatalf("%s: %v", what, err)
	}
}

func (m *retention) options() *local.Options {
	o := m.opts()
	o.Now, o.Buckets = func() time.Time { return m.now }, m.policies
	o.WrapMeta(func(d local.Database) local.Database {
		m.db = &killable{Database: d}
		m.db.left.Store(-1)
		return m.db
	})
	return o
}

// open opens the store in a new process, which believes what the last one kept.
func (m *retention) open() {
	m.t.Helper()
	s, err := local.Open(m.t.Context(), m.dir, m.options())
	m.must("open", err)
	m.s = s
	if m.seen = m.kept; m.seen.IsZero() && len(m.files) == 0 {
		m.seen = m.now // a new store
	}
}

// stored returns the files that are stored.
func (m *retention) stored() map[string]*keptFile {
	m.t.Helper()
	out := make(map[string]*keptFile)
	for r, err := range m.s.Dump(m.t.Context()) {
		m.must("dump", err)
		f := out[r.FileID]
		if f == nil {
			f = &keptFile{id: r.FileID, bucket: r.Bucket, name: r.Name, trashed: r.State == buckets.Trashed, updated: r.UpdatedAt}
			if r.DeletedAt != nil {
				f.deleted = *r.DeletedAt
			}
			f.last = m.lastOf(f.id, r.Version) // no row of a version tells
			out[r.FileID] = f
		}
		f.versions = slices.Insert(f.versions, 0, keptVersion{r.Version, r.CreatedAt})
	}
	return out
}

func (m *retention) lastOf(id string, otherwise uint64) uint64 {
	if f := m.byID()[id]; f != nil {
		return f.last
	}
	return otherwise
}

func (m *retention) compare() {
	m.t.Helper()
	if d := m.diff(m.stored()); d != "" {
		m.fatalf("%s", d)
	}
}

func (m *retention) in(f *keptFile) *buckets.Bucket { return bucket(m.t, m.s, f.bucket) }

// file picks a file, nil if there is none such.
func (m *retention) file(trashed bool) *keptFile {
	var some []*keptFile
	for _, f := range m.files {
		if f.trashed == trashed {
			some = append(some, f)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[m.r.IntN(len(some))]
}

// change makes one change of a file, in the store and in the model. It is one
// transaction.
func (m *retention) change() {
	m.t.Helper()
	ctx, active, trashed := m.t.Context(), m.file(false), m.file(true)
	either := active
	if trashed != nil && (active == nil || m.r.IntN(2) == 0) {
		either = trashed
	}
	switch n := m.r.IntN(100); {
	case n < 25 && len(m.files) < 25 || active == nil:
		m.names++
		m.put(pick(m.r, "a", "b"), fmt.Sprint("f", m.names))
	case n < 55:
		if len(active.versions) < 12 {
			m.put(active.bucket, active.name)
		}
	case n < 62:
		v := active.versions[m.r.IntN(len(active.versions))]
		_, err := m.in(active).RestoreVersion(ctx, active.id, v.n)
		m.must("restore a version", err)
		m.addVersion(active)
	case n < 70:
		m.deleteVersion(either)
	case n < 74:
		m.names++
		active.name, active.updated = fmt.Sprint("g", m.names), m.stamp(m.now)
		_, err := m.in(active).Update(ctx, active.id, &buckets.Patch{Name: &active.name})
		m.must("rename", err)
	case n < 91:
		_, err := m.in(active).Delete(ctx, active.id, nil)
		m.must("delete", err)
		if m.policies[active.bucket].Trash.Off {
			m.forget(active)
			return
		}
		active.trashed, active.deleted, active.updated = true, m.stamp(m.now), m.stamp(m.now)
	case n < 97 && trashed != nil:
		f, err := m.in(trashed).Undelete(ctx, trashed.id)
		m.must("undelete", err)
		trashed.trashed, trashed.deleted, trashed.updated, trashed.name = false, time.Time{}, m.stamp(m.now), f.Name
	case n >= 97:
		m.must("purge", m.in(either).Purge(ctx, either.id, nil))
		m.forget(either)
	}
}

func (m *retention) forget(f *keptFile) {
	m.files = slices.DeleteFunc(m.files, func(g *keptFile) bool { return g == f })
}

func (m *retention) put(in, name string) {
	m.t.Helper()
	got, err := bucket(m.t, m.s, in).Put(m.t.Context(), name, strings.NewReader(fmt.Sprint(name, m.ops)), nil)
	m.must("put", err)
	f := m.byID()[got.ID]
	if f == nil {
		f = &keptFile{id: got.ID, bucket: in, name: name}
		m.files = append(m.files, f)
	}
	m.addVersion(f)
}

// addVersion gives a file of the model one more version. A commit prunes.
func (m *retention) addVersion(f *keptFile) {
	f.last++
	f.updated = m.stamp(m.now)
	f.versions = append(f.versions, keptVersion{f.last, f.updated})
	prune(f, m.policies[f.bucket].Versions, m.removalTime(m.now))
}

func (m *retention) deleteVersion(f *keptFile) {
	m.t.Helper()
	i := m.r.IntN(len(f.versions))
	err := m.in(f).DeleteVersion(m.t.Context(), f.id, f.versions[i].n)
	if len(f.versions) == 1 {
		if !errors.Is(err, buckets.ErrLastVersion) {
			m.fatalf("delete of the last version: %v", err)
		}
		return
	}
	m.must("delete a version", err)
	f.versions, f.updated = slices.Delete(f.versions, i, i+1), m.stamp(m.now)
}

// setPolicy makes a bucket keep something else from now on.
func (m *retention) setPolicy() {
	m.t.Helper()
	times := []time.Duration{0, time.Hour, 24 * time.Hour, 10 * 24 * time.Hour}
	p := buckets.Policy{Domain: "local", Versions: buckets.Versions{Off: m.r.IntN(8) == 0, Keep: pick(m.r, 0, 0, 1, 2, 5), KeepFor: pick(m.r, times...)},
		Trash: buckets.Trash{KeepFor: pick(m.r, times...)}}
	p.Trash.Forever = p.Trash.KeepFor == 0
	if m.r.IntN(8) == 0 {
		p.Trash = buckets.Trash{Off: true}
	}
	m.policies = map[string]buckets.Policy{"a": m.policies["a"], "b": m.policies["b"]}
	m.policies[pick(m.r, "a", "b")] = p
	m.must("policy", m.s.SetPolicies(m.t.Context(), m.policies))
}

// moveClock lets time pass, or the clock go wrong; one that is wrong may be put
// right, or trusted.
func (m *retention) moveClock() {
	m.t.Helper()
	ahead := m.now.Sub(m.seen)
	switch n := m.r.IntN(12); {
	case !m.seen.IsZero() && (ahead > week || ahead < 0) && n < 4:
		m.now = m.seen.Add(time.Duration(m.r.IntN(60)) * time.Minute)
	case ahead > week && n < 8:
		m.must("trust the clock", m.s.TrustClock(m.t.Context()))
		m.kept = time.Time{}
		m.note(m.stamp(m.now))
	case n < 5:
		m.now = m.now.Add(time.Duration(m.r.Int64N(int64(time.Hour))))
	case n < 8:
		m.now = m.now.Add(time.Duration(m.r.Int64N(int64(2 * 24 * time.Hour))))
	case n < 10:
		m.now = m.now.Add(pick(m.r, time.Hour, 24*time.Hour, 3*24*time.Hour, week, week+time.Millisecond)) // to the edges
	case n < 11:
		m.now = m.now.Add(time.Duration(m.r.IntN(1000)) * 24 * time.Hour)
	default:
		m.now = m.now.Add(-time.Duration(m.r.Int64N(int64(30 * 24 * time.Hour))))
	}
	m.now = m.now.Truncate(time.Millisecond)
}

// sweep sweeps, and compares what went and what is left.
func (m *retention) sweep() {
	m.t.Helper()
	want, believed := m.retained.sweep(m.policies, m.now)
	done, err := m.s.Sweep(m.t.Context())
	if errors.Is(err, buckets.ErrClock) == believed || believed && err != nil || done != want {
		m.fatalf("swept %+v, %v, want %+v, the clock believed: %v", done, err, want, believed)
	}
	if m.sweeps++; !believed {
		m.refused++
	}
	m.swept.Files, m.swept.Versions = m.swept.Files+done.Files, m.swept.Versions+done.Versions
	m.compare()
}

// breakSweep lets a process die while it sweeps, and the next one go on.
func (m *retention) breakSweep() {
	m.t.Helper()
	for range 10 { // so that there is something to do
		m.change()
	}
	m.now = m.stamp(m.now).Add(time.Duration(m.r.IntN(150)) * time.Hour)
	before, after := m.clone(), m.clone()
	after.sweep(m.policies, m.now)
	if m.fs != nil && m.r.IntN(2) == 0 {
		m.crash(40, func() { m.s.Sweep(m.t.Context()) })
	} else {
		m.db.left.Store(m.r.Int64N(30))
		m.s.Sweep(m.t.Context())
		m.killed++
		m.s.Close() // which fails
		m.open()
	}
	got := m.stored()
	if d := before.between(&after, got); d != "" {
		m.fatalf("a sweep that broke off: %s", d)
	}
	if before.diff(got) != "" && after.diff(got) != "" {
		m.partly++
	}
	m.files = slices.DeleteFunc(m.files, func(f *keptFile) bool {
		g := got[f.id]
		if g != nil {
			f.versions = g.versions
		}
		return g == nil
	})
	m.compare()
	seen, err := m.db.LatestTime(m.t.Context())
	m.must("latest time", err)
	if !seen.Equal(before.kept) && !seen.Equal(after.kept) {
		m.fatalf("the time seen is %s, want %s or %s", seen, before.kept, after.kept)
	}
	if seen.IsZero() {
		seen = time.Time{} // whatever its location
	}
	m.seen, m.kept = seen, seen
	if m.r.IntN(2) == 0 {
		m.sweep()
	}
}

// crash lets the machine crash at one of the next writes while work runs, or when
// that has ended, and opens what is left.
func (m *retention) crash(writes int64, work func()) (ended bool) {
	m.t.Helper()
	seed := m.r.Uint64()
	percent := pick(m.r, 0, 50, 100)
	m.fs.CrashAt(m.fs.Writes()+m.r.Int64N(writes), seed, percent)
	work()
	ended = !m.fs.Crashed()
	left := m.fs.Crash(seed, percent)[0]
	m.must("close", m.s.Close())
	m.fs = left
	m.crashed++
	m.open()
	return ended
}

// breakChange lets the machine crash while a change is made: it is there or not,
// as a whole.
func (m *retention) breakChange() {
	m.t.Helper()
	before := m.clone()
	var after retained
	ended := m.crash(12, func() {
		m.change()
		after = m.clone()
	})
	got := m.stored()
	if d := after.diff(got); d != "" {
		if ended {
			m.fatalf("a change that was answered: %s", d)
		}
		m.files = before.files
		if d := m.diff(m.stored()); d != "" {
			m.fatalf("a change that broke off: %s", d)
		}
		m.overtaken++
	}
}

// rebuild makes the database anew from the packs: what has gone stays gone.
func (m *retention) rebuild() {
	m.t.Helper()
	if m.fs == nil || len(m.files) == 0 {
		return
	}
	m.must("close", m.s.Close())
	o := m.options()
	m.must("remove", o.MetaFS.RemoveAll(m.dir+"/meta"))
	r, err := local.Check(m.t.Context(), m.dir, &local.CheckOptions{Options: *o, Repair: true})
	if err != nil || !r.OK || !r.Rebuilt {
		m.fatalf("rebuild: %+v, %v", r, err)
	}
	m.rebuilt++
	m.kept = time.Time{}
	m.open()
	m.compare()
}

func (m *retention) step() {
	m.t.Helper()
	switch n := m.r.IntN(100); {
	case n < 55:
		m.change()
	case n < 75:
		m.moveClock()
	case n < 80:
		m.setPolicy()
	case n < 88:
		m.sweep()
	case n < 94:
		m.breakSweep()
	case n < 97 && m.fs != nil:
		m.breakChange()
	case n < 98:
		m.rebuild()
	case n < 99:
		m.must("close", m.s.Close())
		m.open()
		m.compare()
	}
	m.ops++
}

func (m *retention) run(steps int) {
	m.open()
	for range steps {
		m.step()
	}
	m.sweep()
	m.must("close", m.s.Close())
	r, err := local.Check(m.t.Context(), m.dir, &local.CheckOptions{Options: *m.options()})
	if err != nil || !r.OK {
		m.fatalf("check: %+v, %v", r, err)
	}
	m.t.Logf("%d sweeps, %d by a clock that was not believed, removed %+v; %d killed, %d crashes, %d sweeps left half done, %d changes lost, %d rebuilds; %d files are left",
		m.sweeps, m.refused, m.swept, m.killed, m.crashed, m.partly, m.overtaken, m.rebuilt, len(m.files))
}

// retentionSeeds returns the seeds to run: that of CAIRN_SEED, or others.
func retentionSeeds(t *testing.T, few int) (seeds []uint64) {
	t.Helper()
	if v := os.Getenv("CAIRN_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		must(t, err)
		return []uint64{seed}
	}
	for range soak(few) {
		seeds = append(seeds, rand.Uint64())
	}
	return seeds
}

// What a store keeps of versions and of its trash is what a plain model says, while
// files come, change and go, policies change, the clock steps, jumps and goes
// back, and processes and machines die in the middle: nothing goes early, and
// nothing stays.
func TestRetention(t *testing.T) {
	race.LeaveOut(t)
	var partly atomic.Int64
	seeds := retentionSeeds(t, 3)
	t.Cleanup(func() {
		if len(seeds) > 1 && partly.Load() == 0 {
			t.Error("no sweep was left half done")
		}
	})
	for _, seed := range seeds {
		t.Run(fmt.Sprint("CAIRN_SEED=", seed), func(t *testing.T) {
			t.Parallel()
			m := newRetention(t, seed)
			m.dir, m.fs = "store", crashfs.New()
			m.opts = func() *local.Options {
				return &local.Options{DiskFS: m.fs.Disk("store"), MetaFS: m.fs.VFS(), PackSize: 256 << 10}
			}
			m.run(1000)
			if partly.Add(int64(m.partly)); m.swept.Files == 0 || m.swept.Versions == 0 {
				t.Error("too little was swept")
			}
		})
	}
}

// The same with metadata in PostgreSQL, where processes die and machines do not.
func TestRetentionPostgres(t *testing.T) {
	race.LeaveOut(t)
	for _, seed := range retentionSeeds(t, 1) {
		t.Run(fmt.Sprint("CAIRN_SEED=", seed), func(t *testing.T) {
			m := newRetention(t, seed)
			m.dir, m.opts = t.TempDir(), postgres(t)
			m.run(150)
		})
	}
}
