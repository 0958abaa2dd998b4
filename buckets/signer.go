package buckets

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

const (
	signKeyAge    = 30 * 24 * time.Hour // after which a new one is made
	maxGrantToken = 256
)

// sign returns the key's ID and the HMAC-SHA256 (RFC 2104) of a grant. The key
// serves no other purpose.
func sign(k *manifest.SignKey, text []byte) string {
	return k.ID + "." + base64.RawURLEncoding.EncodeToString(mac(k, text))
}

func mac(k *manifest.SignKey, text []byte) []byte {
	h := hmac.New(sha256.New, k.Secret)
	h.Write([]byte("cairn grant 1\x00"))
	h.Write(text)
	return h.Sum(nil)
}

// A signer holds the keys that grants are signed with: the newest signs, older
// ones are believed until all that they signed has expired.
type signer struct {
	s *Store

	mu   sync.Mutex
	keys []*manifest.SignKey // oldest first; mu
}

// current returns the key to sign with, making one if the newest is old.
func (g *signer) current(ctx context.Context) (*manifest.SignKey, error) {
	keys, err := g.load(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(keys); n > 0 && now().Sub(keys[n-1].CreatedAt) < signKeyAge {
		return keys[n-1], nil
	}
	return g.rotate(ctx)
}

// verify checks the signature of a grant.
func (g *signer) verify(ctx context.Context, text []byte, signature string) error {
	id, said, ok := strings.Cut(signature, ".")
	sum, err := base64.RawURLEncoding.Strict().DecodeString(said)
	if !ok || err != nil {
		return ErrGrant
	}
	keys, err := g.load(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id && hmac.Equal(mac(k, text), sum) {
			return nil
		}
	}
	return ErrGrant
}

// load returns the keys, from the store the first time.
func (g *signer) load(ctx context.Context) ([]*manifest.SignKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys != nil {
		return g.keys, nil
	}
	keys, err := g.s.meta.SignKeys(ctx)
	if err != nil {
		return nil, err
	}
	if keys == nil {
		keys = []*manifest.SignKey{} // known to be none
	}
	g.keys = keys
	return keys, nil
}

// rotate makes a new key, and forgets those whose grants have all expired.
func (g *signer) rotate(ctx context.Context) (*manifest.SignKey, error) {
	k := &manifest.SignKey{Secret: random(32), CreatedAt: now()}
	k.ID = fmt.Sprintf("%016x", time.Now().UnixNano()) // keys sort by age
	old, err := g.load(ctx)
	if err != nil {
		return nil, err
	}
	err = g.s.keep(ctx, func(tx manifest.Tx) error {
		for i := range old {
			if i+1 < len(old) && now().Sub(old[i+1].CreatedAt) > maxSignedLife {
				if err := tx.DropSignKey(ctx, old[i].ID); err != nil {
					return err
				}
			}
		}
		return tx.PutSignKey(ctx, k)
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.keys = nil
	g.mu.Unlock()
	return k, nil
}

// maxSignedLife is the longest that a grant of any bucket can live.
const maxSignedLife = 366 * 24 * time.Hour

// RotateSigningKey makes a new key to sign grants with. With drop all older
// ones are forgotten: every URL signed until now is worth nothing.
func (s *Store) RotateSigningKey(ctx context.Context, drop bool) (id string, err error) {
	if drop {
		old, err := s.signer.load(ctx)
		if err != nil {
			return "", err
		}
		err = s.keep(ctx, func(tx manifest.Tx) error {
			for i := range old {
				if err := tx.DropSignKey(ctx, old[i].ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		s.signer.mu.Lock()
		s.signer.keys = nil
		s.signer.mu.Unlock()
	}
	k, err := s.signer.rotate(ctx)
	if err != nil {
		return "", err
	}
	return k.ID, nil
}
