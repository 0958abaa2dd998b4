package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// KeyPrefix begins every API key, so that scanners find leaked ones.
const KeyPrefix = "cairn_"

// KeyOwner begins the principal's ID of those who bear API keys.
const KeyOwner = "key:"

var (
	// ErrKey reports an API key that is unknown or not valid any more.
	ErrKey = RefuseCredentials("API key is not valid")
	// ErrNoKey reports the ID of a key that does not exist.
	ErrNoKey = kindOf(fs.ErrNotExist, "no such API key")
)

// Rows are what keys and grants are kept in.
type Rows interface {
	manifest.Keys
	manifest.Grants

	// Update runs a transaction that writes keys and grants only.
	Update(ctx context.Context, fn func(tx manifest.Tx) error) error
	// Now is the store's time.
	Now() time.Time
}

// Keys are the API keys of a store, and the keys that sign its grants.
type Keys struct {
	rows  Rows
	guard *Guard

	// mu guards signKeys: the signing keys, oldest first, nil until they have
	// been read.
	mu       sync.Mutex
	signKeys []*manifest.SignKey
}

// NewKeys returns the keys that are kept in rows, for the buckets of guard.
func NewKeys(rows Rows, guard *Guard) *Keys { return &Keys{rows: rows, guard: guard} }

// New makes an API key of k's name and scope that lives as long as life says: 0
// is until it is dropped. The token is shown this once: the store keeps a hash.
func (s *Keys) New(ctx context.Context, k manifest.APIKey, life time.Duration) (token string, made *manifest.APIKey, err error) {
	if err := s.checkScope(&k); err != nil {
		return "", nil, err
	}
	secret := randomBytes(32)
	k.ID, k.Hash, k.CreatedAt = hex.EncodeToString(randomBytes(8)), sha256.Sum256(secret), s.rows.Now()
	if k.ExpiresAt = (time.Time{}); life != 0 {
		k.ExpiresAt = k.CreatedAt.Add(life)
	}
	if err := s.rows.Update(ctx, func(tx manifest.Tx) error { return tx.PutAPIKey(ctx, &k) }); err != nil {
		return "", nil, err
	}
	return KeyPrefix + k.ID + "_" + hex.EncodeToString(secret), &k, nil
}

func (s *Keys) checkScope(k *manifest.APIKey) error {
	if !k.Operator && (len(k.Buckets) == 0 || len(k.Ops) == 0) {
		return kindOf(fs.ErrInvalid, "a key needs buckets and operations, or to be an operator's")
	}
	for _, b := range k.Buckets {
		if b != "*" && s.guard.policyOf(b) == nil {
			return fmt.Errorf("bucket %q: %w", names.Clip(b), ErrNoBucket)
		}
	}
	for _, op := range k.Ops {
		if !slices.Contains(Ops(), Op(op)) {
			return fmt.Errorf("operation %q: use create, read, update, delete, download, list or trash: %w", names.Clip(op), fs.ErrInvalid)
		}
	}
	return nil
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.Read(p) // it never fails
	return p
}

// List returns all API keys, in order of IDs.
func (s *Keys) List(ctx context.Context) ([]*manifest.APIKey, error) { return s.rows.APIKeys(ctx) }

// maxDropped is how many grants one transaction removes at most.
const maxDropped = 1000

// Drop ends an API key and the URLs that it has signed: whoever got hold of the
// key may have signed some for later.
func (s *Keys) Drop(ctx context.Context, id string) error {
	err := s.rows.Update(ctx, func(tx manifest.Tx) error {
		if _, err := tx.APIKey(ctx, id); errors.Is(err, fs.ErrNotExist) {
			return ErrNoKey
		} else if err != nil {
			return err
		}
		return tx.DropAPIKey(ctx, id)
	})
	for n := maxDropped; n == maxDropped && err == nil; {
		err = s.rows.Update(ctx, func(tx manifest.Tx) (err error) {
			n, err = tx.DropGrantsOf(ctx, KeyOwner+id, maxDropped)
			return err
		})
	}
	return err
}

// Principal returns who bears an API key, or ErrKey.
func (s *Keys) Principal(ctx context.Context, token string) (*Principal, error) {
	id, text, _ := strings.Cut(strings.TrimPrefix(token, KeyPrefix), "_")
	secret, err := hex.DecodeString(text)
	if err != nil || len(id) != 16 {
		return nil, ErrKey
	}
	k, err := s.rows.APIKey(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrKey
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 || !k.ExpiresAt.IsZero() && s.rows.Now().After(k.ExpiresAt) {
		return nil, ErrKey
	}
	scope := &Scope{Buckets: k.Buckets}
	for _, op := range k.Ops {
		scope.Ops = append(scope.Ops, Op(op))
	}
	return &Principal{ID: KeyOwner + k.ID, Operator: k.Operator, Scope: scope}, nil
}
