package buckets

import (
	"context"
	"crypto/sha256"
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
	onceLife = 24 * time.Hour
	maxOnce  = 255 // bytes of a key
)

// Once makes an upload happen once, however often it is sent: a second one
// with the same key, by the same principal to the same bucket, returns what the
// first has returned, whatever has become of the file since, unless it was
// purged. Keys are kept for a day.
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
func (b *Bucket) onceKey(once *Once) [32]byte {
	return sha256.Sum256([]byte(b.whoKey() + "\x00" + once.Key))
}

// findEarlier returns the answer to an earlier upload with the key, nil if there
// was none.
func (b *Bucket) findEarlier(ctx context.Context, rows manifest.Found, once *Once) (*File, error) {
	if once == nil {
		return nil, nil
	}
	if k := once.Key; k == "" || len(k) > maxOnce {
		return nil, fmt.Errorf("idempotency key of %d bytes: want 1 to %d: %w", len(k), maxOnce, fs.ErrInvalid)
	}
	o, err := rows.Once(ctx, b.b.name, b.onceKey(once))
	if errors.Is(err, fs.ErrNotExist) || err == nil && b.s.now().After(o.ExpiresAt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if o.Request != once.Request {
		return nil, ErrOnce
	}
	out, err := recallAnswer(ctx, rows, o.Answer)
	if err == nil {
		out.Replayed = true
	}
	return out, err
}

// rememberOnce notes the answer to the request in the commit.
func (d *Draft) rememberOnce(ctx context.Context, tx manifest.Tx, answer *File) error {
	if d.opts.Once == nil {
		return nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return tx.PutOnce(ctx, &manifest.Once{Bucket: d.b.b.name, Key: d.b.onceKey(d.opts.Once), Request: d.opts.Once.Request,
		Manifest: manifest.VersionID(answer.ManifestID), Answer: text, ExpiresAt: d.b.s.now().Add(onceLife)})
}

// recallAnswer returns what was told of a file when it was acknowledged. Whoever
// sends a request again is told that, and nothing that has become of the file
// since: that is for those who may read it. Of a file that was purged nothing
// is kept. The names of File's fields are stored.
func recallAnswer(ctx context.Context, rows manifest.Found, text []byte) (*File, error) {
	if len(text) == 0 { // of a row from before answers were noted
		return nil, ErrNoFile
	}
	out := new(File)
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("answer to an earlier request: %w", err)
	}
	_, err := rows.File(ctx, manifest.FileID(out.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoFile
	}
	return out, err
}
