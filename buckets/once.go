package buckets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// ErrOnce reports that a key of PutOptions.Once was used for something else.
var ErrOnce = errors.New("idempotency key was used for another request")

const (
	onceLife = 24 * time.Hour
	maxOnce  = 255 // bytes of a key
)

// Once makes an upload happen once, however often it is sent: a second one
// with the same key, by the same principal to the same bucket, returns the
// file that the first has made. Keys are kept for a day.
type Once struct {
	Key     string
	Request string // what the key stands for; with another it is ErrOnce
}

// whoKey names the bucket's principal among those who use it.
func (b *Bucket) whoKey() string {
	switch p := b.who; {
	case p == nil:
		return ""
	case p.Grant != nil:
		return "grant " + p.Grant.ID
	case p.ID != "":
		return "id " + p.ID
	default:
		return "ip " + p.Request.IP
	}
}

// onceKey names the key among those of its principal.
func (d *Draft) onceKey() [32]byte {
	return sha256.Sum256([]byte(d.b.whoKey() + "\x00" + d.opts.Once.Key))
}

// findEarlier returns the file that an earlier upload with the key has made, nil
// if there was none.
func (d *Draft) findEarlier(ctx context.Context, rows manifest.Found) (*File, error) {
	if d.opts.Once == nil {
		return nil, nil
	}
	if k := d.opts.Once.Key; k == "" || len(k) > maxOnce {
		return nil, fmt.Errorf("idempotency key of %d bytes: want 1 to %d: %w", len(k), maxOnce, fs.ErrInvalid)
	}
	o, err := rows.Once(ctx, d.b.b.name, d.onceKey())
	if errors.Is(err, fs.ErrNotExist) || err == nil && d.b.s.now().After(o.ExpiresAt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if o.Request != d.opts.Once.Request {
		return nil, ErrOnce
	}
	m, err := rows.Manifest(ctx, o.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoFile // removed since
	}
	if err != nil {
		return nil, err
	}
	f, err := rows.File(ctx, m.File)
	if err != nil {
		return nil, err
	}
	out := d.b.describeFile(f, m)
	out.Replayed = true
	return out, nil
}

// rememberOnce notes, in the commit, the version that the request made.
func (d *Draft) rememberOnce(ctx context.Context, tx manifest.Tx, m *manifest.Manifest) error {
	if d.opts.Once == nil {
		return nil
	}
	return tx.PutOnce(ctx, &manifest.Once{Bucket: d.b.b.name, Key: d.onceKey(), Request: d.opts.Once.Request, Manifest: m.ID,
		ExpiresAt: d.b.s.now().Add(onceLife)})
}
