package records

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
)

const (
	day = 24 * time.Hour
	// window is how long the trash of each bucket keeps files, and how long ends of
	// links go on to hold.
	window = 30 * day
	// keepPics is how long bucket pics keeps versions, keepDocs how many docs keeps.
	keepPics = 5 * day
	keepDocs = 2

	// near and far are the backends. Files of pics are moved to and fro.
	near, far = "near", "far"
)

// A world is a store, its hosts, and what must be true of both.
type world struct {
	*model
	ctx   context.Context
	rng   *rand.Rand
	dir   string // for databases of hosts
	dirs  int    // made in it
	log   []string
	count map[string]int // of what was done

	fs      *crashfs.FS
	now     time.Time
	store   *buckets.Store
	backups []*storeBackup
	moves   int // of pics
	hosts   []*host
	// armed says that the file system crashes in the middle of what is being done.
	armed bool
}

// A storeBackup is a store as it was.
type storeBackup struct {
	fs       *crashfs.FS
	at       time.Time
	sessions map[string]uint64 // of hosts
}

func newWorld(ctx context.Context, seed uint64, dir string, hosts int) (*world, error) {
	w := &world{model: newModel(), ctx: ctx, rng: rand.New(rand.NewPCG(seed, 1)), dir: dir, count: make(map[string]int), fs: crashfs.New(),
		now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err := w.openStore(); err != nil {
		return nil, err
	}
	for i := range hosts {
		db, err := openDatabase(ctx, w.newDir())
		if err != nil {
			return nil, err
		}
		h := &host{w: w, name: []string{"blog", "wiki"}[i], db: db}
		w.hosts = append(w.hosts, h)
		if err := h.open(false); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) newDir() string {
	w.dirs++
	return filepath.Join(w.dir, fmt.Sprint(w.dirs))
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
	if len(w.log) > 300 {
		w.log = w.log[1:]
	}
}

func (w *world) options() *local.Options {
	policies := map[string]buckets.Policy{
		"docs": {Domain: near, Trash: buckets.Trash{KeepFor: window}, Versions: buckets.Versions{Keep: keepDocs}},
		"pics": {Domain: near, Trash: buckets.Trash{KeepFor: window}, Versions: buckets.Versions{KeepFor: keepPics}},
	}
	return &local.Options{Buckets: policies, PackSize: 64 << 10, Now: func() time.Time { return w.now }, MetaFS: w.fs.VFS(),
		Backends: map[string]local.Backend{near: {FS: w.fs.Disk("store/near")}, far: {FS: w.fs.Disk("store/far")}}}
}

func (w *world) openStore() (err error) {
	w.store, err = local.Open(w.ctx, "store", w.options())
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	return w.store.TrustClock(w.ctx)
}

func (w *world) bucket(name string) *buckets.Bucket {
	b, err := w.store.Bucket(name)
	if err != nil {
		panic(err)
	}
	return b
}

// killStore kills the store: of what was not synced a share survives. Hosts find it
// again, or are killed too.
func (w *world) killStore() error {
	percent := []int{0, 50, 100}[w.rng.IntN(3)]
	return w.swapStore(w.fs.Crash(w.rng.Uint64(), percent)[0])
}

// swapStore opens the store that a file system holds.
func (w *world) swapStore(files *crashfs.FS) error {
	w.store.Close() // what it writes reaches no clone
	w.fs, w.armed = files, false
	return w.openStore()
}

// backUpStore keeps a copy of the store, for which it is killed.
func (w *world) backUpStore() error {
	b := &storeBackup{at: w.now, sessions: make(map[string]uint64)}
	for _, h := range w.hosts {
		b.sessions[h.name] = h.session
	}
	clones := w.fs.Crash(w.rng.Uint64(), 100, 100)
	b.fs = clones[1]
	if w.backups = append(w.backups, b); len(w.backups) > 3 {
		w.backups = w.backups[1:]
	}
	return w.swapStore(clones[0])
}

// restoreStore puts a backup in the store's place. What was done since is lost.
func (w *world) restoreStore(i int) error {
	b := w.backups[i]
	clones := b.fs.Crash(w.rng.Uint64(), 100, 100)
	b.fs = clones[1]
	if err := w.swapStore(clones[0]); err != nil {
		return err
	}
	return w.forgetLost()
}

// rebuildStore makes the database of the store anew from its packs.
func (w *world) rebuildStore() error {
	if err := w.store.Close(); err != nil {
		return err
	}
	if err := w.fs.VFS().RemoveAll("store/meta"); err != nil {
		return err
	}
	report, err := local.Check(w.ctx, "store", &local.CheckOptions{Options: *w.options(), Repair: true})
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if !report.OK {
		return fmt.Errorf("rebuilt: %s", describeProblems(report))
	}
	return w.openStore()
}

func describeProblems(r *check.Report) (text string) {
	for _, p := range r.Problems {
		text += p.Detail + "; "
	}
	return text
}

// arm makes the file system crash soon.
func (w *world) arm() {
	w.fs.CrashAt(w.fs.Writes()+w.rng.Int64N(30), w.rng.Uint64(), []int{0, 50, 100}[w.rng.IntN(3)])
	w.armed = true
}

// hasCrashed reports whether what was done last may not have reached the disk.
func (w *world) hasCrashed() bool { return w.armed && w.fs.Crashed() }

// addFile stores a file.
func (w *world) addFile() error {
	bucket := []string{"docs", "pics"}[w.rng.IntN(2)]
	content := w.newContent()
	f, err := w.bucket(bucket).Put(w.ctx, fmt.Sprintf("f%d", w.rng.Uint32()), bytes.NewReader(content), nil)
	if err != nil {
		return err
	}
	w.note("put %s %s", bucket, f.ID)
	w.addVersion(f, content)
	return nil
}

func (w *world) newContent() []byte {
	p := make([]byte, 10+w.rng.IntN(3000))
	for i := range p {
		p[i] = byte(w.rng.Uint32())
	}
	return p
}

// replaceFile stores a version.
func (w *world) replaceFile() error {
	f := w.pickFile()
	if f == nil {
		return nil
	}
	content := w.newContent()
	r, err := w.bucket(f.bucket).Replace(w.ctx, f.id, bytes.NewReader(content), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w.note("replace %s: %s", f.id, r.ManifestID)
	w.addVersion(r, content)
	return nil
}

// deleteFile moves a file to the trash, unless a record restricts that.
func (w *world) deleteFile() error {
	f := w.pickFile()
	if f == nil {
		return nil
	}
	must, err := w.isRestricted(f, "")
	if err != nil {
		return err
	}
	_, err = w.bucket(f.bucket).Delete(w.ctx, f.id, nil)
	w.note("delete %s: %v", f.id, err)
	f.deleted = f.deleted || err == nil
	return w.checkRefused(f, "delete", must, err)
}

func (w *world) undeleteFile() error {
	f := w.pickFile()
	if f == nil {
		return nil
	}
	_, err := w.bucket(f.bucket).Undelete(w.ctx, f.id)
	if err == nil {
		w.note("undelete %s", f.id)
		f.kept = true
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, buckets.ErrNotTrashed) {
		err = nil
	}
	return err
}

// purgeFile removes a file for good: who may do that is not kept from it by links,
// restrict excepted.
func (w *world) purgeFile() error {
	f := w.pickFile()
	if f == nil {
		return nil
	}
	must, err := w.isRestricted(f, "")
	if err != nil {
		return err
	}
	w.purging = f.id
	unreconciled := w.isUnreconciled()
	err = w.bucket(f.bucket).Purge(w.ctx, f.id, nil)
	w.note("purge %s: %v", f.id, err)
	if unreconciled && !errors.Is(err, fs.ErrNotExist) {
		if !errors.Is(err, buckets.ErrUnreconciled) {
			return fmt.Errorf("purge of %s while a host is not reconciled: %v", f.id, err)
		}
		return nil
	}
	if err == nil {
		f.gone = true
	}
	return w.checkRefused(f, "purge", must, err)
}

// deleteVersion removes a version for good.
func (w *world) deleteVersion() error {
	f := w.pickFile()
	if f == nil {
		return nil
	}
	v := f.pickVersion(w.rng)
	must, err := w.isRestricted(f, v.id)
	if err != nil {
		return err
	}
	unreconciled := w.isUnreconciled()
	err = w.bucket(f.bucket).DeleteVersion(w.ctx, f.id, v.number)
	w.note("delete version %s: %v", v.id, err)
	switch {
	case errors.Is(err, buckets.ErrNoVersion), errors.Is(err, buckets.ErrLastVersion), errors.Is(err, fs.ErrNotExist):
		return nil
	case unreconciled && !errors.Is(err, buckets.ErrUnreconciled):
		return fmt.Errorf("removal of version %s while a host is not reconciled: %v", v.id, err)
	case errors.Is(err, buckets.ErrUnreconciled):
		return nil
	}
	if err == nil {
		v.gone = true
	}
	return w.checkRefused(f, "delete version", must, err)
}

// checkRefused checks that links have kept a file from being removed if they must.
func (w *world) checkRefused(f *file, what string, must bool, err error) error {
	switch {
	case err == nil && must:
		return fmt.Errorf("%s of %s, which a record restricts", what, f.id)
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, buckets.ErrReferenced):
		return nil
	}
	return err
}

// sweep sweeps. Nothing goes while a host is not reconciled.
func (w *world) sweep() error {
	unreconciled := w.isUnreconciled()
	done, err := w.store.Sweep(w.ctx)
	w.note("sweep at %s: %+v, %v", w.now.Format(time.DateTime), done, err)
	if err == nil && unreconciled && (done.Files > 0 || done.Versions > 0 || done.Links > 0) {
		err = fmt.Errorf("a sweep has removed %+v while a host is not reconciled", done)
	}
	return err
}

// read returns the content of a version, of a file in the trash too.
func (w *world) read(bucket, id string) ([]byte, error) {
	o, err := w.bucket(bucket).Open(w.ctx, id, &buckets.GetOptions{Trashed: true})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}
