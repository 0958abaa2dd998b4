package buckets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

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

type storedKey struct {
	APIKey
	Hash []byte `json:"hash"` // SHA-256 of the secret, which has 256 random bits
}

const kindKey = "key"

// NewKey makes an API key of k's name, scope and expiry. The token is shown
// this once: the store keeps a hash.
func (s *Store) NewKey(ctx context.Context, k APIKey) (token string, made *APIKey, err error) {
	if err := s.checkScope(&k); err != nil {
		return "", nil, err
	}
	k.ID, k.CreatedAt = hex.EncodeToString(random(8)), now()
	secret := random(32)
	hash := sha256.Sum256(secret)
	v, err := json.Marshal(&storedKey{k, hash[:]})
	if err != nil {
		return "", nil, err
	}
	err = s.keep(ctx, func(tx manifest.Tx) error { return tx.PutValue(ctx, kindKey, k.ID, v) })
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
			return fmt.Errorf("bucket %q: %w", clip(b), ErrNoBucket)
		}
	}
	for _, op := range k.Ops {
		switch op {
		case OpCreate, OpRead, OpUpdate, OpDelete, OpDownload, OpList:
		default:
			return fmt.Errorf("operation %q: use create, read, update, delete, download or list: %w", clip(string(op)), fs.ErrInvalid)
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
	for v, err := range s.meta.Values(ctx, kindKey, "") {
		var k storedKey
		if err == nil {
			err = json.Unmarshal(v.Value, &k)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, k.APIKey)
	}
	return out, nil
}

// DropKey ends an API key, and the URLs that it has signed: who has got hold of
// it may have signed some for later.
func (s *Store) DropKey(ctx context.Context, id string) error {
	err := s.dropKey(ctx, id)
	if err != nil {
		return err
	}
	var signed []string
	for v, err := range s.meta.Values(ctx, kindGrant, "") {
		var g Grant
		if err == nil {
			err = json.Unmarshal(v.Value, &g)
		}
		if err != nil {
			return err
		}
		if g.Owner == KeyOwner+id {
			signed = append(signed, v.Key)
		}
	}
	for part := range slices.Chunk(signed, 1000) {
		if err := s.dropValues(ctx, part, kindGrant, kindUses); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) dropKey(ctx context.Context, id string) error {
	return s.keep(ctx, func(tx manifest.Tx) error {
		if _, err := tx.Value(ctx, kindKey, id); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return ErrNoKey
			}
			return err
		}
		return tx.DropValue(ctx, kindKey, id)
	})
}

// KeyPrincipal returns who bears an API key, or ErrKey.
func (s *Store) KeyPrincipal(ctx context.Context, token string) (*Principal, error) {
	id, text, _ := strings.Cut(strings.TrimPrefix(token, KeyPrefix), "_")
	secret, err := hex.DecodeString(text)
	if err != nil || len(id) != 16 {
		return nil, ErrKey
	}
	v, err := s.meta.Value(ctx, kindKey, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrKey
	}
	var k storedKey
	if err == nil {
		err = json.Unmarshal(v, &k)
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare(hash[:], k.Hash) != 1 || !k.ExpiresAt.IsZero() && now().After(k.ExpiresAt) {
		return nil, ErrKey
	}
	return &Principal{ID: KeyOwner + k.ID, Operator: k.Operator, Scope: &Scope{Buckets: k.Buckets, Ops: k.Ops}}, nil
}
