package s3backend

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cairn-store/cairn/backend"
)

// ReadAt implements backend.Backend.
func (b *Backend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if err := backend.CheckKey(ctx, key); err != nil {
		return wrapError("read", key, err)
	}
	if off < 0 {
		return wrapError("read", key, fs.ErrInvalid)
	}
	if len(p) == 0 {
		_, err := b.headObject(ctx, key)
		return wrapError("read", key, err)
	}
	short := false
	err := b.withRetries(ctx, func() (err error) {
		short, err = b.readRange(ctx, key, p, off)
		return err
	})
	if err == nil && short {
		err = io.ErrUnexpectedEOF
	}
	return wrapError("read", key, err)
}

// readRange makes one attempt to fill p. It sets short if the object ends before
// p is full.
func (b *Backend) readRange(ctx context.Context, key string, p []byte, off int64) (short bool, err error) {
	body, n, err := b.openRange(ctx, key, off, int64(len(p)))
	if err != nil {
		return false, err
	}
	defer body.Close()
	if n < int64(len(p)) {
		return true, nil
	}
	if _, err := io.ReadFull(body, p); err != nil {
		return false, fmt.Errorf("%w: %v", errShort, err)
	}
	return false, nil
}

// openRange makes one request for n bytes, and returns how many the answer has:
// fewer where the object ends earlier.
func (b *Backend) openRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	last := off + n - 1
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.opts.Bucket, Key: b.fullKey(key),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, last))})
	if err != nil {
		return nil, 0, err
	}
	var from, to, size int64
	if _, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &from, &to, &size); err != nil {
		out.Body.Close()
		return nil, 0, fmt.Errorf("%w: no range of it: Content-Range %q", errShort, aws.ToString(out.ContentRange))
	}
	ends := to == last || to == size-1 && to < last
	if from != off || !ends || aws.ToInt64(out.ContentLength) != to-from+1 {
		out.Body.Close()
		return nil, 0, fmt.Errorf("%w: %d bytes, %s, want %d-%d", errShort, aws.ToInt64(out.ContentLength), aws.ToString(out.ContentRange), off, last)
	}
	return out.Body, to - from + 1, nil
}
