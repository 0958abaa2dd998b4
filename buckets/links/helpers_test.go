package links_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
)

// memory keeps the state of a host in memory.
type memory struct{ st links.State }

func (m *memory) Load(context.Context) (links.State, error)    { return m.st, nil }
func (m *memory) Save(_ context.Context, st links.State) error { m.st = st; return nil }

// clock is a fake one.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// A fixture is a store with a bucket docs, and a host with a field of each policy in
// the collection posts: keep, restrict, cascade and set_null pin versions, and the
// same with f_ before them follow files; many takes several.
type fixture struct {
	testing.TB
	dir   string
	clock *clock
	store *buckets.Store
	b     *buckets.Bucket
	keep  *memory
	host  *links.Host
	opts  *local.Options
	open  func(f *fixture) (*buckets.Store, error)
}

// openLocal opens the store of a fixture in its directory.
func openLocal(f *fixture) (*buckets.Store, error) {
	return local.Open(context.Background(), f.dir, f.opts)
}

func fields() (fs []schema.Field) {
	for _, policy := range []schema.OnDelete{schema.OnDeleteKeep, schema.OnDeleteRestrict, schema.OnDeleteCascade, schema.OnDeleteSetNull} {
		fs = append(fs, schema.Field{Collection: "posts", Name: string(policy), Bucket: "docs", Pin: schema.PinManifest, OnDelete: policy},
			schema.Field{Collection: "posts", Name: "f_" + string(policy), Bucket: "docs", Pin: schema.PinFile, OnDelete: policy})
	}
	return append(fs, schema.Field{Collection: "posts", Name: "many", Bucket: "docs", Many: true, Pin: schema.PinFile, MaxCount: 3})
}

func ruleSet(t testing.TB, src map[access.Op]string) map[access.Op]*rules.Rule {
	t.Helper()
	env, err := rules.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[access.Op]*rules.Rule)
	for op, s := range src {
		if out[op], err = env.Compile(s); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// newFixture makes a fixture. Owners may do all to their files, everybody may read
// those with public in their metadata.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureIn(t, openLocal)
}

func newFixtureIn(t testing.TB, open func(f *fixture) (*buckets.Store, error)) *fixture {
	t.Helper()
	f := &fixture{TB: t, dir: t.TempDir(), clock: newClock(), keep: &memory{}, open: open}
	own := "file.owner == auth.id"
	f.opts = &local.Options{Now: func() time.Time { return f.clock.now }, Buckets: map[string]buckets.Policy{
		"docs": {Domain: "local", Trash: buckets.Trash{KeepFor: 30 * 24 * time.Hour}, Access: access.Policy{Rules: ruleSet(t, map[access.Op]string{
			access.OpCreate: "auth.id != null", access.OpRead: own + " || has(file.metadata.public) || record.open == true", access.OpUpdate: own, access.OpDelete: own})}},
		"other": {Domain: "local", Access: access.Policy{Rules: ruleSet(t, map[access.Op]string{access.OpRead: "true"})}},
	}}
	f.openStore()
	t.Cleanup(func() { f.store.Close() })
	f.openHost(nil)
	return f
}

func (f *fixture) openStore() {
	f.Helper()
	var err error
	if f.store, err = f.open(f); err != nil {
		f.Fatal(err)
	}
	if f.b, err = f.store.Bucket("docs"); err != nil {
		f.Fatal(err)
	}
}

// openHost opens a new session of the host.
func (f *fixture) openHost(opts *links.Options) {
	f.Helper()
	if opts == nil {
		opts = &links.Options{Fields: fields()}
	}
	var err error
	if f.host, err = links.Open(f.Context(), f.store, f.keep, opts); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) fail(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func who(id string) *access.Principal { return &access.Principal{ID: id} }

// put stores a file of ann's.
func (f *fixture) put(name string) *buckets.File {
	f.Helper()
	file, err := f.b.As(who("ann")).Put(f.Context(), name, strings.NewReader(name+f.clock.now.String()), nil)
	f.fail(err)
	return file
}

// set prepares a field of a record.
func (f *fixture) prepare(record, field string, values ...string) *links.Hold {
	f.Helper()
	hold, err := f.host.Prepare(f.Context(), nil, links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: values}})
	f.fail(err)
	return hold
}

// set sets a field of a record, in all steps.
func (f *fixture) set(record, field string, values ...string) {
	f.Helper()
	f.fail(f.host.Confirm(f.Context(), f.prepare(record, field, values...).Token))
}

// state tells where a file is: active, trashed or gone.
func (f *fixture) state(id string) string {
	f.Helper()
	file, err := f.b.Stat(f.Context(), id, &buckets.GetOptions{Trashed: true})
	if err != nil {
		return "gone"
	}
	return string(file.State)
}

func (f *fixture) sweep() buckets.Swept {
	f.Helper()
	done, err := f.store.Sweep(f.Context())
	f.fail(err)
	return done
}

// month lets more time pass than the trash keeps files, in days, and sweeps.
func (f *fixture) month() {
	f.Helper()
	for range 6 {
		f.clock.pass(6 * 24 * time.Hour) // a jump of more than a week would not be believed
		f.sweep()
	}
}

func acknowledge(context.Context, links.Event) error { return nil }

func (f *fixture) checkEvents(want int) {
	f.Helper()
	events, _, done, err := f.host.Events(f.Context(), links.Place{}, 100)
	f.fail(err)
	if len(events) != want || !done {
		f.Errorf("%d events (done %t), want %d", len(events), done, want)
	}
}

func (f *fixture) checkResolved(id string, want links.Status) {
	f.Helper()
	out, err := f.host.Resolve(f.Context(), nil, []links.Item{{ID: id}})
	f.fail(err)
	if out[0].Status != want || (out[0].File != nil) != (want == links.Found) {
		f.Errorf("resolve %s: %s, want %s", id, out[0].Status, want)
	}
}
