package buckets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// KeyPrefix begins every API key, so that scanners find leaked ones.
const KeyPrefix = "cairn_"

// KeyOwner begins the principal's ID of those who bear API keys.
const KeyOwner = "key:"

var (
	// ErrKey reports an API key that is not known or not valid any more.
	ErrKey = errors.New("API key is not valid")
	// ErrNoKey reports the ID of a key that there is not.
	ErrNoKey = concept("no such API key", fs.ErrNotExist)
)

// An APIKey lets a service in without a user.
type APIKey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Buckets   []string  `json:"buckets"` // "*" is all
	Ops       []Op      `json:"operations"`
	Operator  bool      `json:"operator"` // may do everything
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero is never
}

// NewKey makes an API key of k's name, scope and expiry. The token is shown
// this once: the store keeps a hash.
func (s *Store) NewKey(ctx context.Context, k APIKey) (token string, made *APIKey, err error) {
	if err := s.checkScope(&k); err != nil {
		return "", nil, err
	}
	k.ID, k.CreatedAt = hex.EncodeToString(random(8)), now()
	secret := random(32)
	row := &manifest.APIKey{ID: k.ID, Name: k.Name, Buckets: k.Buckets, Operator: k.Operator, Hash: sha256.Sum256(secret),
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
	for _, op := range k.Ops {
		row.Ops = append(row.Ops, string(op))
	}
	err = s.keep(ctx, func(tx manifest.Tx) error { return tx.PutAPIKey(ctx, row) })
	if err != nil {
		return "", nil, err
	}
	return KeyPrefix + k.ID + "_" + hex.EncodeToString(secret), &k, nil
}

func (s *Store) checkScope(k *APIKey) error {
	if !k.Operator && (len(k.Buckets) == 0 || len(k.Ops) == 0) {
		return concept("a key needs buckets and operations, or to be an operator's", fs.ErrInvalid)
	}
	for _, b := range k.Buckets {
		if b != "*" && s.lookup(b) == nil {
			return fmt.Errorf("bucket %q: %w", names.Clip(b), ErrNoBucket)
		}
	}
	for _, op := range k.Ops {
		switch op {
		case OpCreate, OpRead, OpUpdate, OpDelete, OpDownload, OpList:
		default:
			return fmt.Errorf("operation %q: use create, read, update, delete, download or list: %w", names.Clip(string(op)), fs.ErrInvalid)
		}
	}
	return nil
}

func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

// Keys returns all API keys, by ID.
func (s *Store) Keys(ctx context.Context) (out []APIKey, err error) {
	rows, err := s.meta.APIKeys(ctx)
	for _, row := range rows {
		out = append(out, APIKey{ID: row.ID, Name: row.Name, Buckets: row.Buckets, Ops: opsOf(row), Operator: row.Operator,
			CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt})
	}
	return out, err
}

func opsOf(row *manifest.APIKey) (ops []Op) {
	for _, op := range row.Ops {
		ops = append(ops, Op(op))
	}
	return ops
}

// DropKey ends an API key, and the URLs that it has signed: who has got hold of
// it may have signed some for later.
func (s *Store) DropKey(ctx context.Context, id string) error {
	err := s.dropKey(ctx, id)
	if err != nil {
		return err
	}
	return s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) { return tx.DropGrantsOf(ctx, KeyOwner+id, limit) })
}

func (s *Store) dropKey(ctx context.Context, id string) error {
	return s.keep(ctx, func(tx manifest.Tx) error {
		if _, err := tx.APIKey(ctx, id); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return ErrNoKey
			}
			return err
		}
		return tx.DropAPIKey(ctx, id)
	})
}

// KeyPrincipal returns who bears an API key, or ErrKey.
func (s *Store) KeyPrincipal(ctx context.Context, token string) (*Principal, error) {
	id, text, _ := strings.Cut(strings.TrimPrefix(token, KeyPrefix), "_")
	secret, err := hex.DecodeString(text)
	if err != nil || len(id) != 16 {
		return nil, ErrKey
	}
	k, err := s.meta.APIKey(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrKey
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(hash[:], k.Hash[:]) != 1 || !k.ExpiresAt.IsZero() && now().After(k.ExpiresAt) {
		return nil, ErrKey
	}
	return &Principal{ID: KeyOwner + k.ID, Operator: k.Operator, Scope: &Scope{Buckets: k.Buckets, Ops: opsOf(k)}}, nil
}
