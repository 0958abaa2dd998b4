package buckets

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/cairn-store/cairn/buckets/names"
)

// A cursorSeal makes cursors of a listing. They are sealed, since the place that
// a page has come to may be the path of a file that the reader may not see, and
// bound to all that chooses and orders the listing.
type cursorSeal struct {
	aead cipher.AEAD
	of   []byte
}

func (s *scan) newSeal(ctx context.Context, by Order, desc bool, opts *PageOptions) (*cursorSeal, error) {
	store, err := s.b.s.meta.StoreID(ctx) // no client learns it
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "cairn cursor %x", store))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	folder := "none"
	if opts.Folder != nil {
		folder, _ = names.CleanFolder(*opts.Folder) // the scan has refused others
		folder = "/" + folder
	}
	return &cursorSeal{aead, fmt.Appendf(nil, "%q %q %v %q %q %v %v %q %q", s.b.b.name, by, desc, names.CanonicalPath(opts.Prefix), folder,
		opts.Folders, s.state, s.search, s.mime+s.typePrefix()+s.markerWord())}, err
}

func (c *cursorSeal) close(place string) string {
	return base64.RawURLEncoding.EncodeToString(c.aead.Seal(nil, nil, []byte(place), c.of))
}

func (c *cursorSeal) open(cursor string) (string, error) {
	p, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err == nil {
		p, err = c.aead.Open(nil, nil, p, c.of)
	}
	if err != nil || len(p) == 0 {
		return "", fmt.Errorf("cursor %q: %w", names.Clip(cursor), ErrCursor)
	}
	return string(p), nil
}
