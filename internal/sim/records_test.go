package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A host is a program with records in a database of its own, which loses nothing. Its
// records hold versions of files that keep rules would remove at once, and files that
// go with their last record.
type host struct {
	w     *world
	rng   *rand.Rand
	state links.State

	// records are what is committed, by collection and ID.
	records map[manifest.RecordKey]recordValue
	made    int // files with names of their own

	session *links.Host // nil before it is opened in this process
	of      *process    // of session
}

// A recordValue is the field of a record, and what it must read as.
type recordValue struct {
	id      string
	file    string // that it is, or is a version of
	content []byte
}

const recordBucket = "r"

func newHost(w *world) *host {
	return &host{w: w, rng: rand.New(rand.NewPCG(w.seed, 70)), records: make(map[manifest.RecordKey]recordValue)}
}

// Load implements links.Keeper.
func (h *host) Load(context.Context) (links.State, error) { return h.state, nil }

// Save implements links.Keeper.
func (h *host) Save(_ context.Context, st links.State) error {
	h.state = st
	return nil
}

func (h *host) bucket() *buckets.Bucket {
	b, err := h.w.store.Bucket(recordBucket)
	if err != nil {
		panic(err)
	}
	return b
}

// act does one thing. Its errors are those of the world's invariants: calls may fail.
func (h *host) act(ctx context.Context) error {
	if h.of != h.w.p || h.session == nil {
		h.session = nil
		h.open(ctx)
		return h.verify(ctx)
	}
	switch h.rng.IntN(10) {
	case 0:
		return h.verify(ctx)
	case 1:
		h.remove(ctx)
	case 2:
		h.reconcile(ctx)
	case 3: // somebody deletes a file that a record holds: it stays in the trash
		if v := h.records[h.pick()]; v.file != "" {
			h.bucket().Delete(ctx, v.file, nil)
		}
	default:
		h.write(ctx)
	}
	return h.verify(ctx)
}

// open begins a session, and reconciles.
func (h *host) open(ctx context.Context) {
	s, err := links.Open(ctx, h.w.store, h, &links.Options{Fields: []schema.Field{
		{Collection: "pins", Name: "doc", Bucket: recordBucket, Pin: schema.PinManifest, OnDelete: schema.OnDeleteKeep},
		{Collection: "owns", Name: "doc", Bucket: recordBucket, Pin: schema.PinFile, OnDelete: schema.OnDeleteCascade}}})
	if err != nil {
		return
	}
	h.session, h.of = s, h.w.p
	if h.reconcile(ctx) != nil {
		h.session = nil // it is opened once more
	}
}

func (h *host) reconcile(ctx context.Context) error {
	exists := func(_ context.Context, l links.Link) (bool, error) {
		return h.records[manifest.RecordKey{Collection: l.Collection, Record: l.Record}].id == l.Value(), nil
	}
	keys := slices.SortedFunc(maps.Keys(h.records), func(a, b manifest.RecordKey) int {
		return bytes.Compare([]byte(a.Collection+a.Record), []byte(b.Collection+b.Record))
	})
	rows := func(yield func(links.Row, error) bool) {
		for _, key := range keys {
			if !yield(links.Row{Collection: key.Collection, Record: key.Record, Field: "doc", Values: []string{h.records[key].id}}, nil) {
				return
			}
		}
	}
	_, err := h.session.Reconcile(ctx, exists, rows, nil)
	return err
}

// pick returns a record, which need not be there.
func (h *host) pick() manifest.RecordKey {
	return manifest.RecordKey{Collection: []string{"pins", "owns"}[h.rng.IntN(2)], Record: fmt.Sprint(h.rng.IntN(4))}
}

// write makes a record hold something new, or what another holds, and may break off
// after each step.
func (h *host) write(ctx context.Context) {
	key := h.pick()
	v := h.records[manifest.RecordKey{Collection: key.Collection, Record: fmt.Sprint(h.rng.IntN(4))}]
	if v.id == "" || h.rng.IntN(3) > 0 {
		var err error
		if v, err = h.put(ctx, key); err != nil {
			return
		}
	}
	hold, err := h.session.Prepare(ctx, nil, links.Change{Collection: key.Collection, Record: key.Record, Fields: map[string][]string{"doc": {v.id}}})
	if err != nil {
		return
	}
	if h.rng.IntN(4) == 0 {
		if h.rng.IntN(2) == 0 {
			h.session.Cancel(ctx, hold.Token)
		}
		return
	}
	h.records[key] = v
	if h.rng.IntN(4) > 0 {
		h.session.Confirm(ctx, hold.Token)
	}
}

// put stores something new for a record to hold.
func (h *host) put(ctx context.Context, key manifest.RecordKey) (recordValue, error) {
	content := h.w.pool[h.rng.IntN(len(h.w.pool))]
	content = append(bytes.Clone(content), byte(h.rng.IntN(256)))
	name := fmt.Sprintf("shared-%d", h.rng.IntN(2))
	if key.Collection == "owns" {
		h.made++
		name = fmt.Sprintf("own-%d", h.made)
	}
	f, err := h.bucket().Put(ctx, name, bytes.NewReader(content), nil)
	if err != nil {
		return recordValue{}, err
	}
	if key.Collection == "owns" {
		return recordValue{f.ID, f.ID, content}, nil
	}
	return recordValue{f.ManifestID, f.ID, content}, nil
}

// remove deletes a record.
func (h *host) remove(ctx context.Context) {
	key := h.pick()
	if _, ok := h.records[key]; !ok {
		return
	}
	hold, err := h.session.Prepare(ctx, nil, links.Change{Collection: key.Collection, Record: key.Record, Deleted: true})
	if err != nil {
		return
	}
	delete(h.records, key)
	if h.rng.IntN(4) > 0 {
		h.session.Confirm(ctx, hold.Token)
	}
}

// verify reads what a record holds.
func (h *host) verify(ctx context.Context) error {
	for key, v := range h.records {
		if h.rng.IntN(len(h.records)) > 0 {
			continue
		}
		got, err := h.read(ctx, v.id)
		var damaged *cas.CorruptError
		switch {
		case errors.Is(err, errInjected), errors.Is(err, errCrashed), h.w.p.crashed.Load(), h.w.damage && errors.As(err, &damaged):
			return nil
		case err != nil:
			return fmt.Errorf("record %s/%s: %s: %w", key.Collection, key.Record, v.id, err)
		case !bytes.Equal(got, v.content):
			return fmt.Errorf("record %s/%s: %s reads as %d other bytes", key.Collection, key.Record, v.id, len(got))
		}
	}
	return nil
}

func (h *host) read(ctx context.Context, id string) ([]byte, error) {
	o, err := h.bucket().Open(ctx, id, &buckets.GetOptions{Trashed: true})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

// finish compares, when all is quiet, what there is with the records.
func (h *host) finish(ctx context.Context) error {
	// What was left pending ends with the session before.
	h.session = nil
	if h.open(ctx); h.session == nil {
		return errors.New("the host cannot be opened")
	}
	if err := h.reconcile(ctx); err != nil {
		return err
	}
	for range 4 { // windows of the trash, one after the other
		h.w.now.Add(2 * recordWindow.Milliseconds())
		if _, err := h.w.store.Sweep(ctx); err != nil {
			return err
		}
	}
	held := make(map[string]bool)
	for key, v := range h.records {
		held[v.id], held[v.file] = true, true
		if got, err := h.read(ctx, v.id); err != nil || !bytes.Equal(got, v.content) {
			return fmt.Errorf("record %s/%s: %s: %d bytes, %w", key.Collection, key.Record, v.id, len(got), err)
		}
	}
	for row, err := range h.w.db.AllRows(ctx, recordBucket) {
		switch {
		case err != nil:
			return err
		case row.File.State == manifest.Trashed && !held[string(row.File.ID)]:
			return fmt.Errorf("%s is in the trash still", row.File.ID)
		case row.Manifest.ID != row.File.Current && !held[string(row.Manifest.ID)]:
			return fmt.Errorf("version %s of %s is left, though no record holds it", row.Manifest.ID, row.File.Path())
		}
	}
	n := 0
	for l, err := range h.w.db.AllLinks(ctx, "") {
		if err != nil {
			return err
		}
		if n++; l.State != manifest.LinkConfirmed {
			return fmt.Errorf("link %s is %s still", l.ID, l.State)
		}
	}
	if n < len(h.records) {
		return fmt.Errorf("%d links for %d records", n, len(h.records))
	}
	return nil
}
