package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A keptRows is access.Rows on a store of its own, with a clock that a test
// sets. It counts transactions.
type keptRows struct {
	manifest.Found
	db      manifest.Store
	now     time.Time
	updates int
}

func newKeys(t *testing.T) (*keptRows, *access.Keys) {
	t.Helper()
	db, err := pebblestore.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	guard, err := access.NewGuard(func(string) *access.Policy { return &access.Policy{} }, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows := &keptRows{Found: db, db: db, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return rows, access.NewKeys(rows, guard)
}

func (r *keptRows) Update(ctx context.Context, fn func(tx manifest.Tx) error) error {
	r.updates++
	_, err := r.db.Update(ctx, "", fn)
	return err
}

func (r *keptRows) Now() time.Time { return r.now }

// A key that has signed very many URLs is dropped in transactions of bounded
// size, and all its URLs with it.
func TestDropKeyMany(t *testing.T) {
	rows, keys := newKeys(t)
	_, k, err := keys.New(t.Context(), manifest.APIKey{Operator: true}, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = rows.Update(t.Context(), func(tx manifest.Tx) error {
		for range 2500 {
			g := &manifest.Grant{ID: manifest.NewGrantID(), Bucket: "b", Op: "upload", Owner: access.KeyOwner + k.ID,
				CreatedAt: rows.now, ExpiresAt: rows.now.Add(time.Hour)}
			if err := tx.PutGrant(t.Context(), g); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rows.updates = 0
	if err := keys.Drop(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	if rows.updates != 4 {
		t.Errorf("dropped in %d transactions, want the key's and three of at most 1,000 grants", rows.updates)
	}
	for range rows.db.Grants(t.Context(), "b", "") {
		t.Fatal("a grant of the dropped key is left")
	}
}

// Keys expire, and signing keys grow old, by the store's clock and not by the
// machine's.
func TestKeysGoByTheStoresClock(t *testing.T) {
	rows, keys := newKeys(t)
	token, k, err := keys.New(t.Context(), manifest.APIKey{Operator: true}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !k.CreatedAt.Equal(rows.now) || !k.ExpiresAt.Equal(rows.now.Add(time.Hour)) {
		t.Errorf("made at %v, expires at %v; the store's time is %v", k.CreatedAt, k.ExpiresAt, rows.now)
	}
	signed := func() string {
		t.Helper()
		guard, err := access.NewGuard(func(string) *access.Policy { return &access.Policy{} }, nil)
		if err != nil {
			t.Fatal(err)
		}
		grants := access.NewGrants(keys, guard, &access.Granted{Bucket: "b", TTL: time.Hour})
		_, token, err := grants.Sign(t.Context(), access.Grant{Op: access.GrantUpload}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(token, ".")[1]
	}
	first := signed()
	rows.now = rows.now.Add(time.Hour)
	if _, err := keys.Principal(t.Context(), token); err != nil {
		t.Errorf("at the end of its life: %v, want a principal", err)
	}
	rows.now = rows.now.Add(time.Millisecond)
	if _, err := keys.Principal(t.Context(), token); !errors.Is(err, access.ErrKey) {
		t.Errorf("after its life: %v, want %v", err, access.ErrKey)
	}
	if again := signed(); again != first {
		t.Errorf("signed by key %s after an hour, want %s", again, first)
	}
	rows.now = rows.now.Add(31 * 24 * time.Hour)
	if next := signed(); next <= first {
		t.Errorf("signed by key %s after a month, want one that sorts behind %s", next, first)
	}
	// Two keys of the same moment are two keys, the later one behind.
	a, err := keys.RotateSigning(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := keys.RotateSigning(t.Context(), false)
	if err != nil || b <= a {
		t.Errorf("keys %s and %s, %v, want the second behind the first", a, b, err)
	}
}
