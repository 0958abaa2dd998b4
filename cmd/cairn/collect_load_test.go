package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

const loadSchema = `buckets:
  docs:   {backend: one, chunking: fine, digests: [sha256], rules: {create: "true", read: "true"}}
  moving: {backend: one, chunking: fine, digests: [sha256], rules: {create: "true", read: "true"}}
`

// An arena is a server that is killed now and then, and what goes on around it.
type arena struct {
	t     *testing.T
	bin   string
	flags []string
	url   string
	log   string // file of what the server logs
	pool  map[block][]byte
	sizes func() int64 // bytes of all packs

	life       atomic.Int64 // changes when the server is killed
	collecting atomic.Bool  // that it collects, by itself and by order

	mu   sync.Mutex
	srv  *running                 // nil while there is none
	took map[bool][]time.Duration // of uploads, by whether it collected
	runs map[string]int           // collections and moves
}

func newArena(t *testing.T, flags []string, sizes func() int64) *arena {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	a := &arena{t: t, bin: buildCairn(t), flags: append(slices.Clone(flags), "--dev", "--addr", addr), url: "http://" + addr,
		log: filepath.Join(t.TempDir(), "log"), pool: newBlocks(), sizes: sizes, took: make(map[bool][]time.Duration), runs: make(map[string]int)}
	a.collecting.Store(true)
	return a
}

// start starts the server.
func (a *arena) start() {
	a.t.Helper()
	log, err := os.OpenFile(a.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	srv := startLogged(a.t, a.bin, log, a.flags...)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.srv = srv
}

// kill kills the server, in the middle of whatever it does.
func (a *arena) kill() {
	a.life.Add(1)
	a.mu.Lock()
	srv := a.srv
	a.srv = nil
	a.mu.Unlock()
	srv.kill()
}

// waitForServer waits until there is a server, or ctx is done.
func (a *arena) waitForServer(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		a.mu.Lock()
		up := a.srv != nil
		a.mu.Unlock()
		if up {
			return
		}
	}
}

// client returns a client that is patient with a server that was killed.
func (a *arena) client() *client.Client {
	c, err := client.New(a.url, &client.Options{Patience: 5 * time.Minute})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// killNowAndThen kills the server and starts it again, until it is over.
func (a *arena) killNowAndThen(over context.Context, r *rand.Rand) (kills int) {
	for {
		select {
		case <-over.Done():
			return kills
		case <-time.After(time.Duration(1000+r.IntN(4000)) * time.Millisecond):
		}
		a.kill()
		kills++
		if r.IntN(25) == 0 {
			a.cairn("check", "--json")
		}
		a.start()
		a.applyMode()
	}
}

// applyMode has the server collect by itself, or not.
func (a *arena) applyMode() {
	set := (*client.Client).PauseCollect
	if a.collecting.Load() {
		set = (*client.Client).ResumeCollect
	}
	if _, err := set(a.client(), a.t.Context()); err != nil {
		a.judge("pause or resume", err)
	}
}

// collect collects all the time, while that is on, until it is over, with the
// rate that a server has of itself.
func (a *arena) collect(over context.Context, r *rand.Rand) {
	c := a.client()
	for ; over.Err() == nil; time.Sleep(200 * time.Millisecond) {
		if !a.collecting.Load() {
			continue
		}
		a.repeat("collect", func() error {
			_, err := c.Collect(a.t.Context(), &client.CollectOptions{Full: r.IntN(4) == 0, DryRun: r.IntN(8) == 0, Rate: 32 << 20}, nil)
			return err
		})
	}
}

// move moves a bucket from one backend to the other and back, until it is over
// and the bucket is back: as long as the two buckets lie apart, what both hold is
// stored twice.
func (a *arena) move(over context.Context) {
	c, to := a.client(), "two"
	for ended := true; over.Err() == nil || (to == "one" || !ended) && !a.t.Failed(); {
		ended = a.repeat("move", func() error { _, err := c.Migrate(a.t.Context(), "moving", to, nil); return err })
		if ended {
			to = map[string]string{"one": "two", "two": "one"}[to]
		}
		select {
		case <-over.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

// repeat counts what goes on beside the users.
func (a *arena) repeat(what string, do func() error) bool {
	err := do()
	if err != nil {
		a.judge(what, err)
		a.waitForServer(a.t.Context())
		what += " broken off"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[what]++
	return err == nil
}

// switchModes turns collection off and on in turn, so that uploads with it and
// without it can be compared.
func (a *arena) switchModes(over context.Context, every time.Duration) {
	for {
		select {
		case <-over.Done():
			a.collecting.Store(true)
			return
		case <-time.After(every):
		}
		a.collecting.Store(!a.collecting.Load())
		a.applyMode()
	}
}

// cairn runs a command on the store, which no server has open.
func (a *arena) cairn(args ...string) []byte {
	a.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(a.bin, append(args, a.flags[:6]...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		a.t.Errorf("cairn %v: %v\n%s%s", args, err, &out, &errs)
	}
	return out.Bytes()
}

// describeTimes tells how long uploads took with collection and without it.
func (a *arena) describeTimes() string {
	p99 := func(on bool) (time.Duration, int) {
		ts := a.took[on]
		slices.Sort(ts)
		if len(ts) == 0 {
			return 0, 0
		}
		return ts[len(ts)*99/100], len(ts)
	}
	on, n := p99(true)
	off, m := p99(false)
	return fmt.Sprintf("p99 of %d uploads with collection %v, of %d without %v: ratio %.2f", n, on.Round(time.Millisecond), m, off.Round(time.Millisecond),
		float64(on)/float64(max(off, 1)))
}

// TestCollectUnderLoad has eight users store, edit, move, restore, read and
// remove what they share by all protocols, while the server collects and is
// killed. Nothing that was acknowledged may be lost or wrong; afterwards the
// space of what was removed comes back. CAIRN_SOAK times 5 seconds is how long.
func TestCollectUnderLoad(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		backend := func(name string) string {
			return fmt.Sprintf("{type: filesystem, pack_size: 4MiB, filesystem: {path: %q}}", filepath.Join(dir, name))
		}
		runLoad(t, backend("one"), backend("two"), func() int64 { return treeSize(t, dir) })
	})
	t.Run("versitygw", func(t *testing.T) {
		s := s3test.Versity(t)
		var size []func() int64
		backend := func() string {
			o := s.Options(t)
			b := s3test.Open(t, o)
			size = append(size, func() (n int64) {
				for info, err := range b.List(t.Context(), "") {
					if err != nil {
						t.Fatal(err)
					}
					n += info.Size
				}
				return n
			})
			return fmt.Sprintf("{type: s3, pack_size: 4MiB, s3: {bucket: %q, prefix: %q, endpoint: %q, region: %q, access_key_id: %q, secret_access_key: %q, force_path_style: true}}",
				o.Bucket, o.Prefix, o.Endpoint, o.Region, o.AccessKeyID, o.SecretAccessKey)
		}
		one, two := backend(), backend()
		runLoad(t, one, two, func() int64 { return size[0]() + size[1]() })
	})
}

func runLoad(t *testing.T, one, two string, sizes func() int64) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	config := "storage:\n  collection: {interval: 1s, max_wait: 20s}\n  backends:\n    one: " + one + "\n    two: " + two + "\n"
	a := newArena(t, declared(t, config, loadSchema), sizes)
	length := time.Duration(soak(5)) * time.Second
	a.start()
	over, end := context.WithTimeout(t.Context(), length)
	defer end()
	var users, others sync.WaitGroup
	workers := make([]*worker, 8)
	for i := range workers {
		workers[i] = &worker{arena: a, n: i, r: rand.New(rand.NewPCG(seed, uint64(i))), c: a.client(), unique: block(1+i) << 32, counts: make(map[string]int)}
		users.Go(func() { workers[i].run(t.Context(), over) })
	}
	done, stop := context.WithCancel(t.Context()) // the server is killed until all users have ended
	defer stop()
	kills := 0
	others.Go(func() { kills = a.killNowAndThen(done, rand.New(rand.NewPCG(seed, 100))) })
	others.Go(func() { a.switchModes(done, length/8) })
	others.Go(func() { a.collect(over, rand.New(rand.NewPCG(seed, 101))) })
	others.Go(func() { a.move(done) })
	users.Wait()
	stop()
	others.Wait()
	t.Logf("%v, %d kills,%s; %v; %s", length, kills, describeCounts(workers), a.runs, a.describeTimes())
	a.showErrors()
	if t.Failed() {
		a.kill()
		return
	}
	for _, w := range workers {
		w.end(t.Context())
		for _, f := range slices.Clone(w.files)[:len(w.files)/2] {
			w.purgeFile(t.Context(), f)
		}
	}
	a.kill()
	a.reclaim(workers)
}

// reclaim collects what the users have left, and looks at what is there then.
func (a *arena) reclaim(workers []*worker) {
	t := a.t
	sizes := []int64{a.sizes()}
	for _, args := range [][]string{{"gc"}, {"gc"}, {"gc"}, {"gc", "--full"}} {
		var r client.Collected
		if err := json.Unmarshal(a.cairn(append(args, "--json")...), &r); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, a.sizes())
		t.Logf("cairn %v: %d of %d bytes left; it says %+v", args, sizes[len(sizes)-1], sizes[0], r.CollectedSums)
		for _, b := range r.Backends {
			if len(b.Problems) > 0 {
				t.Errorf("backend %s: %q", b.Backend, b.Problems)
			}
		}
	}
	var checked struct{ OK bool }
	if err := json.Unmarshal(a.cairn("check", "--json"), &checked); err != nil || !checked.OK {
		t.Errorf("check: %v", err)
	}
	a.start()
	versions := 0
	for _, w := range workers {
		versions += w.verify(t.Context(), t)
	}
	a.kill()
	fresh := a.freshSize(workers)
	dead, back := sizes[0]-fresh, sizes[0]-sizes[3]
	t.Logf("%d versions are right; a fresh store takes %d bytes, %.1f %% of the dead came back in three rounds, %.1f %% with --full",
		versions, fresh, 100*float64(back)/float64(dead), 100*float64(sizes[0]-sizes[4])/float64(dead))
	if float64(back) < 0.85*float64(dead) {
		t.Errorf("%d of %d dead bytes came back in three rounds", back, dead)
	}
	if left := sizes[4] - fresh; left > fresh/10 {
		t.Errorf("%d bytes are left after --full, a fresh store takes %d", sizes[4], fresh)
	}
}

// freshSize returns what a store takes that never held anything else.
func (a *arena) freshSize(workers []*worker) int64 {
	t := a.t
	dir := t.TempDir()
	policy := buckets.Policy{Domain: "local", Profile: "fine", Compression: cas.Compression{Codec: cas.Zstd}}
	s, err := local.Open(t.Context(), dir, &local.Options{Buckets: map[string]buckets.Policy{"docs": policy}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bucket("docs")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workers {
		for _, f := range w.files {
			for i, v := range f.versions {
				if _, err := b.Put(t.Context(), f.path, bytes.NewReader(w.render(v.text)), &buckets.PutOptions{OnConflict: "version"}); err != nil {
					t.Fatal(i, err)
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return treeSize(t, filepath.Join(dir, "packs"))
}

// showErrors shows what the server has logged as an error, the kinds of it.
func (a *arena) showErrors() {
	p, err := os.ReadFile(a.log)
	if err != nil {
		a.t.Fatal(err)
	}
	seen, ids := make(map[string]int), regexp.MustCompile(`[0-9a-z_]{16,}|w[0-9]+-[0-9]+`)
	for line := range strings.Lines(string(p)) {
		if _, message, ok := strings.Cut(line, "level=ERROR "); ok {
			seen[ids.ReplaceAllString(strings.TrimSpace(message), "…")]++
		} else if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			a.t.Errorf("the server: %s", line)
		}
	}
	for _, message := range slices.Sorted(maps.Keys(seen)) {
		a.t.Logf("%d times: %.500s", seen[message], message)
	}
}

func treeSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		n += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
