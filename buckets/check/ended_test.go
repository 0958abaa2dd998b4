package check

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A pack that a crash has torn, and that has been marked as ended, is no problem;
// one whose footer is damaged is.
func TestEndedWithoutFooter(t *testing.T) {
	ctx := t.Context()
	mem := membackend.New(nil)
	b := &flippedByte{Backend: mem}
	db, err := pebblestore.Open(t.TempDir(), nil)
	must(t, err)
	defer db.Close()
	r := rand.NewChaCha8([32]byte{'e'})
	open := func() *cas.Store {
		s, err := cas.Open(ctx, b, db.Index("x"), &cas.Options{Exclusive: true})
		must(t, err)
		batch := s.NewBatch(ctx, nil)
		defer batch.Close()
		p := make([]byte, 4000)
		r.Read(p)
		must(t, errors.Join(batch.Put(p), batch.Flush()))
		return s
	}
	chunks := open()
	var torn string
	for p, err := range chunks.Packs(ctx) {
		must(t, err)
		torn = p.ID.Key()
	}
	must(t, chunks.Close())
	w, _, err := mem.Append(ctx, torn)
	must(t, err)
	w.Write([]byte("what a crash has left"))
	must(t, errors.Join(w.Sync(), w.Abort()))
	chunks = open()
	defer chunks.Close()
	must(t, chunks.SealOpen(ctx))
	details := func() string {
		report, err := (&Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks}}}).Check(ctx, nil)
		must(t, err)
		var all strings.Builder
		for _, p := range report.Problems {
			all.WriteString(p.Pack + " " + p.Detail + "\n")
		}
		return all.String()
	}
	if got := details(); got != "" {
		t.Errorf("check finds:\n%s", got)
	}
	for p, err := range chunks.Packs(ctx) {
		must(t, err)
		if b.key, b.at = p.ID.Key(), p.Size-5; b.key == torn {
			continue
		}
		if got, want := details(), p.ID.String()+" the footer is damaged"; !strings.Contains(got, want) {
			t.Errorf("check finds:\n%s", got)
		}
	}
}
