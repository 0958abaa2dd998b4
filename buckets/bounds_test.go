package buckets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A boundedStore counts what one transaction does to uploads.
type boundedStore struct {
	manifest.Store
	ended, dropped, moved int           // by one transaction, at most
	kill                  int           // transactions until one fails; 0 is never
	failMoved             int           // uploads that are moved to domain e until one fails; 0 is never
	ahead                 time.Duration // that the machine's clock is
}

type boundedTx struct {
	manifest.Tx
	s                     *boundedStore
	ended, dropped, moved int
}

var errKilled = errors.New("killed")

// Update implements manifest.Store.
func (s *boundedStore) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	var b *boundedTx
	c, err := s.Store.Update(ctx, domain, func(tx manifest.Tx) error {
		b = &boundedTx{Tx: tx, s: s}
		return fn(b)
	})
	s.ended, s.dropped, s.moved = max(s.ended, b.ended), max(s.dropped, b.dropped), max(s.moved, b.moved)
	if s.kill > 0 {
		if s.kill--; s.kill == 0 {
			return c, errKilled
		}
	}
	return c, err
}

// PutUpload implements manifest.Tx.
func (b *boundedTx) PutUpload(ctx context.Context, u *manifest.Upload) error {
	if u.Expired {
		b.ended++
	}
	if u.Domain == "e" {
		b.moved++
		if b.s.failMoved > 0 {
			if b.s.failMoved--; b.s.failMoved == 0 {
				return errKilled
			}
		}
	}
	return b.Tx.PutUpload(ctx, u)
}

// DropUpload implements manifest.Tx.
func (b *boundedTx) DropUpload(ctx context.Context, bucket string, id manifest.UploadID) error {
	b.ended++
	return b.Tx.DropUpload(ctx, bucket, id)
}

// DropParts implements manifest.Tx. It drops no more than it may: the store
// that is tested with can drop all at once.
func (b *boundedTx) DropParts(ctx context.Context, id manifest.UploadID, limit int) (more bool, err error) {
	var refs [][]cas.Ref
	for p, err := range b.UploadParts(ctx, id, 0) {
		if err != nil {
			return false, err
		}
		refs = append(refs, p)
	}
	n := min(len(refs), limit)
	b.dropped += n
	if more, err = b.Tx.DropParts(ctx, id, limit); err != nil {
		return more, err
	}
	for i := n; i < len(refs); i++ {
		if err := b.PutPart(ctx, id, uint64(i), refs[i]); err != nil {
			return false, err
		}
	}
	return n == limit, nil
}

func openBounded(t *testing.T, policy buckets.Policy) (*boundedStore, *buckets.Store, *buckets.Bucket) {
	t.Helper()
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: crashfs.New().VFS()})
	must(t, err)
	chunks, err := cas.Open(t.Context(), membackend.New(nil), db.Index("d"), nil)
	must(t, err)
	other, err := cas.Open(t.Context(), membackend.New(nil), db.Index("e"), nil)
	must(t, err)
	meta := &boundedStore{Store: db}
	policy.Domain = "d"
	s, err := buckets.New(t.Context(), meta, map[string]*cas.Store{"d": chunks, "e": other}, map[string]buckets.Policy{"b": policy},
		&buckets.Options{Now: func() time.Time { return time.Now().Add(meta.ahead) }})
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(s.Close(), db.Close())) })
	return meta, s, bucket(t, s, "b").As(&access.Principal{ID: "ann", Operator: true})
}

func (s *boundedStore) wantBounds(t *testing.T, what string) {
	t.Helper()
	const maxEnded, maxDropped = 16, 1000
	if s.ended > maxEnded+1 || s.dropped > maxDropped*maxEnded {
		t.Errorf("%s: one transaction ends %d uploads and drops %d parts", what, s.ended, s.dropped)
	}
	s.ended, s.dropped = 0, 0
}

// However many uploads wait for a part, they go with it some at a time, and a
// part whose end was broken off can be ended again.
func TestEndsOfWaitingAreBounded(t *testing.T) {
	const waiting = 100
	for _, what := range []string{"cancel", "expire", "broken off"} {
		t.Run(what, func(t *testing.T) {
			meta, s, b := openBounded(t, buckets.Policy{UploadExpiry: 500 * time.Millisecond, MaxUploads: 2 * waiting})
			part, err := uploads(b).Begin(t.Context(), "", &upload.Options{Partial: true})
			must(t, err)
			for i := range waiting {
				_, err := uploads(b).Concat(t.Context(), fmt.Sprint(i), []string{part.ID}, &upload.Options{})
				must(t, err)
			}
			switch what {
			case "cancel":
				must(t, uploads(b).Cancel(t.Context(), part.ID))
			case "expire":
				time.Sleep(600 * time.Millisecond)
				_, err = s.Sweep(t.Context())
				must(t, err)
			default:
				meta.kill = 3
				wantErr(t, "killed", uploads(b).Cancel(t.Context(), part.ID), errKilled)
				must(t, uploads(b).Cancel(t.Context(), part.ID))
			}
			meta.wantBounds(t, what)
			for range meta.UploadsUnderWay(t.Context(), "b") {
				t.Fatal("an upload is left")
			}
		})
	}
}

// However many uploads have to make room for one, they go some at a time.
func TestEvictionIsBounded(t *testing.T) {
	const others, size = 100, 1000
	meta, _, b := openBounded(t, buckets.Policy{Limits: buckets.Limits{MaxOwnerSize: others * size}})
	for i := range others {
		up, err := uploads(b).Begin(t.Context(), fmt.Sprint(i), nil)
		must(t, err)
		_, err = uploads(b).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(uint64(i), size)), nil)
		must(t, err)
	}
	up, err := uploads(b).Begin(t.Context(), "large", nil)
	must(t, err)
	up, err = uploads(b).Append(t.Context(), up.ID, 0, bytes.NewReader(noise(7, others*size)), nil)
	must(t, err)
	if up.Offset != others*size {
		t.Errorf("it stands at %d, want %d", up.Offset, others*size)
	}
	meta.wantBounds(t, "eviction")
	if h, err := meta.UploadsHeld(t.Context(), "b", "id ann"); err != nil || h.Uploads != 1 {
		t.Errorf("under way: %+v, %v, want 1", h, err)
	}
}

// However many parts an upload has, they are dropped some at a time, and when
// that is broken off the sweeps do it.
func TestPartsAreDroppedBoundedly(t *testing.T) {
	race.LeaveOut(t)
	const parts = 2500
	for _, what := range []string{"cancel", "commit", "broken off"} {
		t.Run(what, func(t *testing.T) {
			meta, s, b := openBounded(t, buckets.Policy{UploadExpiry: time.Second})
			up, err := uploads(b).Begin(t.Context(), "many", nil)
			must(t, err)
			id := manifest.UploadID(up.ID)
			content := noise(1, 100_000)
			f, err := b.Put(t.Context(), "same", bytes.NewReader(content), nil)
			must(t, err)
			var refs []cas.Ref
			for c, err := range b.Chunks(t.Context(), f.ID, 0, nil) {
				must(t, err)
				d, err := cas.ParseDigest(c.Digest)
				must(t, err)
				refs = append(refs, cas.Ref{Digest: d, Length: uint32(c.Size)})
			}
			_, err = meta.Store.Update(t.Context(), "", func(tx manifest.Tx) error {
				row, err := tx.Upload(t.Context(), "b", id)
				if err != nil {
					return err
				}
				for n := range uint64(parts) {
					if err := tx.PutPart(t.Context(), id, n, refs[:1]); err != nil {
						return err
					}
				}
				row.Parts, row.Offset = parts, parts*int64(refs[0].Length)
				return tx.PutUpload(t.Context(), row)
			})
			must(t, err)
			left := func() (n int) {
				for _, err := range meta.UploadParts(t.Context(), id, 0) {
					must(t, err)
					n++
				}
				return n
			}
			switch what {
			case "cancel":
				must(t, uploads(b).Cancel(t.Context(), up.ID))
			case "commit":
				f, err := commitUpload(uploads(b), t.Context(), up.ID)
				must(t, err)
				if f.Size != parts*int64(refs[0].Length) {
					t.Errorf("%d bytes, want %d", f.Size, parts*int64(refs[0].Length))
				}
				time.Sleep(1100 * time.Millisecond)
				_, err = s.Sweep(t.Context())
				must(t, err)
			default:
				meta.kill = 1
				wantErr(t, "killed", uploads(b).Cancel(t.Context(), up.ID), errKilled)
				if n := left(); n == 0 || n == parts {
					t.Fatalf("%d parts are left, want some", n)
				}
				_, err := uploads(b).Append(t.Context(), up.ID, up.Offset, strings.NewReader("x"), nil)
				wantErr(t, "append to what lacks parts", err, buckets.ErrNoUpload)
				time.Sleep(2100 * time.Millisecond)
				_, err = s.Sweep(t.Context())
				must(t, err)
			}
			meta.wantBounds(t, what)
			if n := left(); n > 0 {
				t.Errorf("%d parts are left", n)
			}
		})
	}
}

// However many uploads are under way, a move ends in transactions of bounded
// size. One that breaks off between them is ended by the next sweep.
func TestMoveEndsBoundedly(t *testing.T) {
	race.LeaveOut(t)
	const waiting = 2200
	for what, c := range map[string]struct {
		failAt int
		ahead  time.Duration
		sweep  error
	}{
		"whole":                                 {0, 0, nil},
		"broken off":                            {1500, 0, nil},
		"broken off, then the clock has jumped": {1500, 300 * 24 * time.Hour, buckets.ErrClock},
	} {
		t.Run(what, func(t *testing.T) {
			meta, s, b := openBounded(t, buckets.Policy{})
			up, err := uploads(b).Begin(t.Context(), "f", nil)
			must(t, err)
			_, err = uploads(b).Append(t.Context(), up.ID, 0, strings.NewReader("before "), nil)
			must(t, err)
			_, err = meta.Update(t.Context(), "", func(tx manifest.Tx) error {
				for range waiting {
					u := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: "b", Domain: "d", Name: "n", Length: -1,
						CreatedAt: up.CreatedAt, ExpiresAt: up.ExpiresAt}
					if err := tx.PutUpload(t.Context(), u); err != nil {
						return err
					}
				}
				return nil
			})
			must(t, err)
			meta.failMoved = c.failAt
			_, err = s.Migrate(t.Context(), "b", "e", nil)
			must(t, err)
			if c.failAt > 0 {
				meta.ahead = c.ahead
				if _, err := s.Sweep(t.Context()); !errors.Is(err, c.sweep) {
					t.Errorf("sweep: %v, want %v", err, c.sweep)
				}
				meta.ahead = 0
			}
			if meta.moved > 1000 {
				t.Errorf("one transaction moved %d uploads, want at most 1000", meta.moved)
			}
			for u, err := range meta.UploadsUnderWay(t.Context(), "b") {
				must(t, err)
				if u.Domain != "e" {
					t.Fatalf("upload %s is in domain %q, want e", u.ID, u.Domain)
				}
			}
			h, err := meta.Home(t.Context(), "b")
			if must(t, err); h.Domain != "e" || h.To != "" {
				t.Errorf("home %+v, want domain e and no move under way", h)
			}
			_, err = uploads(b).Append(t.Context(), up.ID, 7, strings.NewReader("after"), nil)
			must(t, err)
			f, err := commitUpload(uploads(b), t.Context(), up.ID)
			must(t, err)
			if got := read(t, b, f.ID, nil); got != "before after" {
				t.Errorf("the upload has become %q, want %q", got, "before after")
			}
		})
	}
}
