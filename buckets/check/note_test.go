package check

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A flippedByte is a backend that returns one byte of an object changed.
type flippedByte struct {
	backend.Backend
	key string // "" for none
	at  int64
}

func (f *flippedByte) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := f.Backend.ReadAt(ctx, key, p, off)
	if i := f.at - off; err == nil && key == f.key && i >= 0 && i < int64(len(p)) {
		p[i] ^= 1
	}
	return err
}

// A pack whose serial was given up is not missing while the note that says so
// can be read. If the note is damaged, check says that it may be the reason.
func TestDamagedNote(t *testing.T) {
	ctx := t.Context()
	faults := backendtest.Faulty(membackend.New(nil))
	b := &flippedByte{Backend: faults}
	db, err := pebblestore.Open(t.TempDir(), nil)
	must(t, err)
	defer db.Close()
	store, err := db.StoreID(ctx)
	must(t, err)
	domain, err := db.DomainID(ctx, "x")
	must(t, err)
	chunks, err := cas.Open(ctx, b, db.Index("x"), &cas.Options{Store: store, Domain: domain, PackSize: 3000})
	must(t, err)
	defer chunks.Close()
	r := rand.NewChaCha8([32]byte{'n'})
	put := func() error {
		batch := chunks.NewBatch(ctx, &cas.BatchOptions{})
		defer batch.Close()
		p := make([]byte, 4000)
		r.Read(p)
		return errors.Join(batch.Put(p), batch.Flush())
	}
	faults.Add(backendtest.Rule{Op: backendtest.OpSync})
	if err := put(); !errors.Is(err, backendtest.ErrInjected) {
		t.Fatalf("got error %v, want %v", err, backendtest.ErrInjected)
	}
	for range 4 {
		must(t, put())
	}
	details := func() string {
		report, err := (&Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks}}}).Check(ctx, nil)
		must(t, err)
		var all strings.Builder
		for _, p := range report.Problems {
			all.WriteString(p.Detail + "\n")
		}
		return all.String()
	}
	if got := details(); got != "" {
		t.Errorf("check finds:\n%s", got)
	}
	for p, err := range chunks.Packs(ctx) {
		must(t, err)
		_, err = chunks.Walk(ctx, p, func(f *cas.Frame) error {
			if !f.Entry.Kind.Indexed() && f.Entry.Kind != cas.KindRecord {
				b.key, b.at = p.ID.Key(), f.Entry.Offset+int64(f.Entry.HeaderLen)
			}
			return nil
		})
		must(t, err)
	}
	got := details()
	for _, want := range []string{"pack 1 of writer", "notes at 128 are damaged"} {
		if !strings.Contains(got, want) {
			t.Errorf("check finds no %q:\n%s", want, got)
		}
	}
}
