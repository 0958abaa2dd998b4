package s3backend

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cairn-store/cairn/backend"
)

// tokenKey is the user metadata that holds the token of an object's Writer. When
// the answer to a PUT is lost, the next attempt finds the key taken, and the
// token says whether by the first attempt.
const tokenKey = "cairn-writer"

func newToken() string { return rand.Text() }

// A writer holds the object in memory until Commit or, once it is larger than
// Options.PutSize, sends it in parts.
type writer struct {
	b     *Backend
	key   string
	token string

	// mu guards what follows.
	mu    sync.Mutex
	life  backend.Lifetime
	body  body
	multi *multipart // nil while body holds all
	sent  int64      // bytes that were given to multi
	sum   hash.Hash  // of these; nil unless the object is read back
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return 0, wrapError("write", w.key, err)
	}
	n := len(p)
	for len(p) > 0 {
		room := w.b.opts.PutSize
		if w.multi != nil {
			room = w.b.opts.PartSize
		}
		if w.body.size >= room {
			if err := w.life.Fail(w.spillPart()); err != nil {
				return 0, wrapError("write", w.key, err)
			}
			continue
		}
		part := p[:min(int64(len(p)), room-w.body.size)]
		w.body.pool = &w.b.blocks
		w.body.write(part)
		p = p[len(part):]
	}
	return n, nil
}

// spillPart starts sending the body as a part, and empties it.
func (w *writer) spillPart() (err error) {
	if w.multi == nil {
		p, err := w.b.findProof(w.life.Ctx, partPut)
		if err != nil {
			return err
		}
		if w.multi, err = w.b.startMultipart(w.life.Ctx, w.key, w.token, p); err != nil {
			return err
		}
		if w.b.readsBack(p) {
			w.sum = sha256.New()
		}
	}
	w.sent += w.body.size
	if w.sum != nil {
		io.Copy(w.sum, w.body.reader())
	}
	part := w.body
	w.body = body{}
	return w.multi.sendPart(part)
}

// Sync implements backend.Writer: objects are published whole.
func (w *writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return wrapError("sync", w.key, err)
	}
	return wrapError("sync", w.key, errors.ErrUnsupported)
}

func (w *writer) Commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return wrapError("commit", w.key, err)
	}
	if err := w.life.Fail(w.publish()); err != nil {
		return wrapError("commit", w.key, err)
	}
	w.life.Close()
	w.body.free()
	return nil
}

// publish makes the object readable, in one PUT or from its parts.
func (w *writer) publish() error {
	if w.multi == nil {
		return w.publishWhole()
	}
	if w.body.size > 0 {
		if err := w.spillPart(); err != nil {
			return err
		}
	}
	if err := w.multi.waitParts(); err != nil {
		return err
	}
	if err := w.b.claimKey(w.life.Ctx, w.key, w.token, w.multi.complete); err != nil {
		return err
	}
	if w.sum != nil {
		return w.b.readBack(w.life.Ctx, w.key, w.token, w.sent, [sha256.Size]byte(w.sum.Sum(nil)))
	}
	// The list of parts is a body too, and no sum of ours goes with it.
	info, err := w.b.Stat(w.life.Ctx, w.key)
	if err == nil && info.Size != w.sent {
		err = w.b.removeWrong(w.life.Ctx, w.key, w.token)
	}
	return err
}

func (w *writer) publishWhole() error {
	p, err := w.b.findProof(w.life.Ctx, wholePut)
	if err != nil {
		return err
	}
	err = w.b.claimKey(w.life.Ctx, w.key, w.token, func(condition *string) error {
		return w.b.putWhole(w.life.Ctx, w.key, w.token, &w.body, p, condition)
	})
	if err != nil || !w.b.readsBack(p) {
		return err
	}
	h := sha256.New()
	io.Copy(h, w.body.reader())
	return w.b.readBack(w.life.Ctx, w.key, w.token, w.body.size, [sha256.Size]byte(h.Sum(nil)))
}

func (w *writer) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.life.Close() {
		return nil
	}
	w.body.free()
	if w.multi == nil {
		return nil
	}
	return wrapError("abort", w.key, w.multi.abort())
}

// claimKey calls publish, with retries, for a key that must be free. If the key
// proves taken it accepts an object of the same token: an earlier attempt of its
// own, whose answer was lost.
func (b *Backend) claimKey(ctx context.Context, key, token string, publish func(condition *string) error) error {
	condition := aws.String("*")
	if !b.Conditional() {
		if _, err := b.headObject(ctx, key); err == nil {
			return fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if b.unconditional.Load() {
		condition = nil
	}
	err := b.withRetries(ctx, func() error { return publish(condition) })
	var f *failure
	switch {
	case err == nil || !errors.As(err, &f):
		return err
	case errors.Is(err, fs.ErrExist), isGone(f.cause):
		return b.acceptOwn(ctx, key, token, err)
	case condition != nil && isUnknown(f.cause):
		b.unconditional.Store(true)
		return b.claimKey(ctx, key, token, publish)
	}
	return err
}

// isUnknown reports whether the service has no conditional writes.
func isUnknown(err error) bool {
	code, status := statusOf(err)
	return status == 501 || code == "NotImplemented"
}

// isGone reports whether a multipart upload does not exist any more: an attempt
// whose answer was lost may have completed it.
func isGone(err error) bool {
	code, _ := statusOf(err)
	return code == "NoSuchUpload"
}

// Of several writes of one key, a service may refuse all but one before that one can be
// seen. Its object is looked for that often, with pauses that double.
const (
	lookAgain  = 6
	firstPause = 20 * time.Millisecond
)

// acceptOwn returns nil if the object under key has this token, else err. If the
// key proves free after all, what took it was an attempt that came to nothing, or
// is gone: the write may be repeated.
func (b *Backend) acceptOwn(ctx context.Context, key, token string, err error) error {
	head, herr := b.headObject(ctx, key)
	for i := 0; i < lookAgain && errors.Is(herr, fs.ErrNotExist) && errors.Is(err, fs.ErrExist); i++ {
		select {
		case <-time.After(firstPause << i):
		case <-ctx.Done():
			return ctx.Err()
		}
		head, herr = b.headObject(ctx, key)
	}
	if errors.Is(herr, fs.ErrNotExist) {
		return &failure{kind: backend.ErrUnavailable, cause: err}
	}
	if herr != nil {
		return herr
	}
	if head.Metadata[tokenKey] == token {
		return nil
	}
	return err
}

// putWhole makes one attempt to send an object whole.
func (b *Backend) putWhole(ctx context.Context, key, token string, d *body, p proof, condition *string) error {
	r := d.reader()
	defer r.stop()
	sse, kms := b.opts.serverEncryption()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.opts.Bucket, Key: b.fullKey(key), Body: r, ContentLength: &d.size, ContentMD5: d.digest(p), IfNoneMatch: condition,
		ContentType: aws.String("application/octet-stream"), Metadata: map[string]string{tokenKey: token},
		StorageClass: types.StorageClass(b.opts.StorageClass), ServerSideEncryption: sse, SSEKMSKeyId: kms,
	})
	if err != nil {
		return fmt.Errorf("put of %d bytes: %w", d.size, err)
	}
	return nil
}
