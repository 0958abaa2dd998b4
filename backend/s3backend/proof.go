package s3backend

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cairn-store/cairn/backend"
)

// A proof is what shows that the bytes of a PUT have arrived as they were sent.
// Services differ in what they compare, and some compare nothing. So before the
// first PUT of each kind one is made whose body is changed after it was signed.
type proof int32

const (
	untried     proof = iota
	bySignature       // the service refuses a body that is not the signed one
	byMD5             // it refuses one that has not its Content-MD5, which is sent then
	byReading         // it takes both: objects are read back before they count
)

// A putKind is a kind of request that sends bytes: services that check one need
// not check the other.
type putKind int

const (
	wholePut putKind = iota
	partPut
)

// findProof returns the proof of a kind of PUT. The first calls try the service.
func (b *Backend) findProof(ctx context.Context, kind putKind) (proof, error) {
	if p := proof(b.proofs[kind].Load()); p != untried {
		return p, nil
	}
	try := b.tryWhole
	if kind == partPut {
		try = b.tryPart
	}
	ctx = context.WithValue(ctx, wrongBytes{}, true)
	p := bySignature
	for ; p < byReading; p++ {
		refused, err := try(ctx, p)
		if err != nil {
			return untried, fmt.Errorf("a PUT of wrong bytes, as a trial: %w", err)
		}
		if refused {
			break
		}
	}
	b.proofs[kind].Store(int32(p))
	return p, nil
}

// tryWhole reports whether the service refuses the body of a PUT, which the HTTP
// client changes.
func (b *Backend) tryWhole(ctx context.Context, p proof) (refused bool, err error) {
	key, token := trialKey(), newToken()
	d := b.newTrial()
	defer d.free()
	err = b.claimKey(ctx, key, token, func(condition *string) error {
		err := b.putWhole(ctx, key, token, d, p, condition)
		if refused = isWrongBytes(err); refused {
			return nil
		}
		return err
	})
	if isStrangeRefusal(err) {
		return false, nil
	}
	if errors.Is(err, fs.ErrExist) {
		// Nobody else has the key: an earlier attempt was stored, or is about to be,
		// without its token yet. The service took the bytes.
		err = nil
	}
	if err == nil && !refused {
		err = b.Delete(ctx, key)
	}
	return refused, err
}

// tryPart is tryWhole for a part of a multipart upload.
func (b *Backend) tryPart(ctx context.Context, p proof) (refused bool, err error) {
	m, err := b.startMultipart(ctx, trialKey(), newToken(), p)
	if err != nil {
		return false, err
	}
	d := b.newTrial()
	defer d.free()
	m.parts = make([]types.CompletedPart, 1)
	err = b.withRetries(ctx, func() error {
		err := m.putPart(d, 1)
		if refused = isWrongBytes(err); refused {
			return nil
		}
		return err
	})
	if isStrangeRefusal(err) {
		err = nil
	}
	return refused, errors.Join(err, m.abort())
}

func trialKey() string { return "probe/" + strings.ToLower(rand.Text()) }

func (b *Backend) newTrial() *body {
	d := &body{pool: &b.blocks}
	d.write(bytes.Repeat([]byte("trial"), 400))
	return d
}

// isStrangeRefusal reports whether a trial was refused as a bad request, by a code
// that does not say whether for its bytes. Objects are read back then; if it was
// for something else, the real PUT is refused too and tells what.
func isStrangeRefusal(err error) bool {
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	_, status := statusOf(f.cause)
	return status == http.StatusBadRequest && isFinal(f.cause) || status == http.StatusUnprocessableEntity
}

// isWrongBytes reports whether the service has refused a body for not being what
// its headers say.
func isWrongBytes(err error) bool {
	switch code, _ := statusOf(err); code {
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "SignatureDoesNotMatch":
		return true
	}
	return false
}

// wrongBytes marks the context of requests whose bodies are changed.
type wrongBytes struct{}

// A tamperer is an HTTP client that changes a byte in the middle of the bodies of
// marked requests. It comes behind all that computes sums of them.
type tamperer struct{ next aws.HTTPClient }

func (t tamperer) Do(r *http.Request) (*http.Response, error) {
	if r.Context().Value(wrongBytes{}) != nil && r.Body != nil && r.ContentLength > 0 {
		r = r.WithContext(r.Context())
		r.Body, r.GetBody = &tampered{r.Body, r.ContentLength / 2}, nil
	}
	return t.next.Do(r)
}

// A tampered body has a wrong byte after so many right ones.
type tampered struct {
	io.ReadCloser
	before int64
}

func (t *tampered) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if t.before >= 0 && t.before < int64(n) {
		p[t.before] ^= 0xa3
	}
	t.before -= int64(n)
	return n, err
}

// digest returns the value of Content-MD5, nil unless p asks for it.
func (d *body) digest(p proof) *string {
	if p != byMD5 {
		return nil
	}
	h := md5.New()
	io.Copy(h, d.reader())
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil)))
}

// readsBack reports whether what has proof p is read back.
func (b *Backend) readsBack(p proof) bool {
	return b.opts.ReadBack == "always" || b.opts.ReadBack == "auto" && p == byReading
}

// mostReadings bounds how often an object is read back: what differs may have
// been hurt on its way back.
const mostReadings = 3

// readBack compares an object of this token that was just stored with what was
// sent. One that differs is removed.
func (b *Backend) readBack(ctx context.Context, key, token string, size int64, sum [sha256.Size]byte) error {
	for range mostReadings {
		got, err := b.sumObject(ctx, key, size)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got == sum {
			return nil
		}
	}
	return b.removeWrong(ctx, key, token)
}

// removeWrong removes an object of this token that is not what was sent, and
// returns an error that says so.
func (b *Backend) removeWrong(ctx context.Context, key, token string) error {
	err := error(&failure{backend.ErrUnavailable, errors.New("other bytes were stored than were sent, and the service did not notice")})
	if own := b.acceptOwn(ctx, key, token, err); own != nil {
		return own
	}
	return errors.Join(err, b.Delete(ctx, key))
}

// sumObject returns the SHA-256 of an object that is to have size bytes. That of
// one with more or fewer is another's.
func (b *Backend) sumObject(ctx context.Context, key string, size int64) (sum [sha256.Size]byte, err error) {
	r := b.NewReader(ctx, key, 0, size+1)
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
