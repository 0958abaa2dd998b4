package buckets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// ErrOnce reports that a key of PutOptions.Once was used for something else.
var ErrOnce = errors.New("idempotency key was used for another request")

const (
	kindOnce = "once"
	onceLife = 24 * time.Hour
	maxOnce  = 255 // bytes of a key
)

// A once is what a key was used for, and what came of it.
type once struct {
	Request   string    `json:"request"` // what Once.Request was
	Manifest  string    `json:"manifest"`
	ExpiresAt time.Time `json:"expires_at"`
}

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
func (u *upload) onceKey() string {
	sum := sha256.Sum256([]byte(u.b.whoKey() + "\x00" + u.opts.Once.Key))
	return u.b.b.name + "/" + hex.EncodeToString(sum[:])
}

// rowsAndValues are a store, or a transaction.
type rowsAndValues interface {
	manifest.Rows
	Value(ctx context.Context, kind, key string) ([]byte, error)
}

// replay returns the file that an earlier upload with the key has made, nil
// if there was none.
func (u *upload) replay(ctx context.Context, rows rowsAndValues) (*File, error) {
	if u.opts.Once == nil {
		return nil, nil
	}
	if k := u.opts.Once.Key; k == "" || len(k) > maxOnce {
		return nil, fmt.Errorf("idempotency key of %d bytes: want 1 to %d: %w", len(k), maxOnce, fs.ErrInvalid)
	}
	v, err := rows.Value(ctx, kindOnce, u.onceKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var o once
	if err == nil {
		err = json.Unmarshal(v, &o)
	}
	if err != nil || u.b.s.now().After(o.ExpiresAt) {
		return nil, err
	}
	if o.Request != u.opts.Once.Request {
		return nil, ErrOnce
	}
	m, err := rows.Manifest(ctx, manifest.VersionID(o.Manifest))
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
	out := u.b.file(f, m)
	out.Replayed = true
	return out, nil
}

// remember notes in the commit what came of the key.
func (u *upload) remember(ctx context.Context, tx manifest.Tx, m *manifest.Manifest) error {
	if u.opts.Once == nil {
		return nil
	}
	v, err := json.Marshal(&once{u.opts.Once.Request, string(m.ID), u.b.s.now().Add(onceLife)})
	if err != nil {
		return err
	}
	return tx.PutValue(ctx, kindOnce, u.onceKey(), v)
}
