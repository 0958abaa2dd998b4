package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

const (
	signKeyAge    = 30 * 24 * time.Hour // after which a new one is made
	maxGrantToken = 256
)

// signText returns the key's ID and the HMAC-SHA256 (RFC 2104) of a grant. The
// key serves no other purpose.
func signText(k *manifest.SignKey, text []byte) string {
	return k.ID + "." + base64.RawURLEncoding.EncodeToString(macOf(k, text))
}

func macOf(k *manifest.SignKey, text []byte) []byte {
	h := hmac.New(sha256.New, k.Secret)
	h.Write([]byte("cairn grant 1\x00"))
	h.Write(text)
	return h.Sum(nil)
}

// currentSignKey returns the key to sign with, making one if the newest is old.
func (s *Keys) currentSignKey(ctx context.Context) (*manifest.SignKey, error) {
	keys, err := s.loadSignKeys(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(keys); n > 0 && s.rows.Now().Sub(keys[n-1].CreatedAt) < signKeyAge {
		return keys[n-1], nil
	}
	return s.rotateSignKey(ctx, false)
}

// verifyText checks the signature of a grant. The newest key signs; older ones
// verify until all that they signed has expired.
func (s *Keys) verifyText(ctx context.Context, text []byte, signature string) error {
	id, encoded, ok := strings.Cut(signature, ".")
	sum, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil {
		return ErrGrant
	}
	keys, err := s.loadSignKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id && hmac.Equal(macOf(k, text), sum) {
			return nil
		}
	}
	return ErrGrant
}

// loadSignKeys returns the signing keys, oldest first. It reads the rows only
// the first time.
func (s *Keys) loadSignKeys(ctx context.Context) ([]*manifest.SignKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signKeys != nil {
		return s.signKeys, nil
	}
	keys, err := s.rows.SignKeys(ctx)
	if err != nil {
		return nil, err
	}
	if keys == nil {
		keys = []*manifest.SignKey{} // read, and none there
	}
	s.signKeys = keys
	return keys, nil
}

// RotateSigning makes a new key to sign grants with, and returns its ID. With
// drop all older ones are removed: every URL signed until now is worth nothing.
func (s *Keys) RotateSigning(ctx context.Context, drop bool) (id string, err error) {
	k, err := s.rotateSignKey(ctx, drop)
	if err != nil {
		return "", err
	}
	return k.ID, nil
}

// rotateSignKey makes a new key. It removes the older ones whose grants have all
// expired or, with drop, all older ones.
func (s *Keys) rotateSignKey(ctx context.Context, drop bool) (*manifest.SignKey, error) {
	old, err := s.loadSignKeys(ctx)
	if err != nil {
		return nil, err
	}
	now := s.rows.Now()
	k := &manifest.SignKey{ID: nextKeyID(old, now), Secret: randomBytes(32), CreatedAt: now}
	err = s.rows.Update(ctx, func(tx manifest.Tx) error {
		for i := range old {
			if drop || i+1 < len(old) && now.Sub(old[i+1].CreatedAt) > MaxSignedLife {
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
	s.mu.Lock()
	s.signKeys = nil
	s.mu.Unlock()
	return k, nil
}

// nextKeyID is a signing key's ID that sorts behind those of all older keys.
func nextKeyID(old []*manifest.SignKey, now time.Time) string {
	n := uint64(now.UnixNano())
	if len(old) > 0 {
		if last, err := strconv.ParseUint(old[len(old)-1].ID, 16, 64); err == nil {
			n = max(n, last+1)
		}
	}
	return fmt.Sprintf("%016x", n)
}
