package s3backend

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ReadAt implements backend.Backend.
func (b *Backend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if err := check(ctx, key); err != nil {
		return wrap("read", key, err)
	}
	if off < 0 {
		return wrap("read", key, fs.ErrInvalid)
	}
	if len(p) == 0 {
		_, err := b.head(ctx, key)
		return wrap("read", key, err)
	}
	short := false
	err := b.do(ctx, func() (err error) {
		short, err = b.get(ctx, key, p, off)
		return err
	})
	if err == nil && short {
		err = io.ErrUnexpectedEOF
	}
	return wrap("read", key, err)
}

// get makes one attempt to fill p. short says that the object ends too early.
func (b *Backend) get(ctx context.Context, key string, p []byte, off int64) (short bool, err error) {
	last := off + int64(len(p)) - 1
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.opts.Bucket, Key: b.key(key),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, last))})
	if err != nil {
		return false, err
	}
	defer out.Body.Close()
	var from, to, size int64
	if _, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &from, &to, &size); err != nil {
		return false, fmt.Errorf("%w: no range of it: Content-Range %q", errShort, aws.ToString(out.ContentRange))
	}
	if from == off && to == size-1 && to < last {
		return true, nil
	}
	if from != off || to != last || aws.ToInt64(out.ContentLength) != int64(len(p)) {
		return false, fmt.Errorf("%w: %d bytes, %s, want %d-%d", errShort, aws.ToInt64(out.ContentLength), aws.ToString(out.ContentRange), off, last)
	}
	if _, err := io.ReadFull(out.Body, p); err != nil {
		return false, fmt.Errorf("%w: %v", errShort, err)
	}
	return false, nil
}
