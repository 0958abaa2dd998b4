package s3backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cairn-store/cairn/backend"
)

// List implements backend.Backend. It makes a request for every thousand keys.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(backend.Info{}, wrapError("list", prefix, err))
			return
		}
		if !backend.ValidKey(prefix) && !backend.ValidKey(prefix+"x") {
			return // no key begins with that
		}
		in := &s3.ListObjectsV2Input{Bucket: &b.opts.Bucket, Prefix: b.fullKey(prefix)}
		for {
			var page *s3.ListObjectsV2Output
			err := b.withRetries(ctx, func() (err error) {
				page, err = b.client.ListObjectsV2(ctx, in)
				return err
			})
			if err != nil {
				yield(backend.Info{}, wrapError("list", prefix, err))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), b.opts.Prefix)
				if !backend.ValidKey(key) {
					continue // not one of ours
				}
				if !yield(backend.Info{Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			if aws.ToString(page.NextContinuationToken) == "" {
				yield(backend.Info{}, wrapError("list", prefix, fmt.Errorf("%w: a page says that there are more, and not where", backend.ErrUnavailable)))
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

// Sweep aborts multipart uploads that were begun before a time and neither
// completed nor aborted. A crash leaves such uploads, and services charge for
// their parts. Sweep returns how many it has aborted.
func (b *Backend) Sweep(ctx context.Context, before time.Time) (n int, err error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &b.opts.Bucket, Prefix: &b.opts.Prefix}
	for {
		var page *s3.ListMultipartUploadsOutput
		err := b.withRetries(ctx, func() (err error) {
			page, err = b.client.ListMultipartUploads(ctx, in)
			return err
		})
		if err != nil {
			return n, wrapError("sweep", b.opts.Prefix, err)
		}
		for _, u := range page.Uploads {
			key := aws.ToString(u.Key)
			if !aws.ToTime(u.Initiated).Before(before) || !strings.HasPrefix(key, b.opts.Prefix) {
				continue
			}
			if err := b.abortMultipart(ctx, key, aws.ToString(u.UploadId)); err != nil {
				return n, wrapError("sweep", key, err)
			}
			n++
		}
		if !aws.ToBool(page.IsTruncated) || aws.ToString(page.NextKeyMarker) == "" {
			return n, nil
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}

// abortMultipart aborts a multipart upload. key includes the prefix. An upload
// that the service does not know is no error.
func (b *Backend) abortMultipart(ctx context.Context, key, id string) error {
	err := b.withRetries(ctx, func() error {
		_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.opts.Bucket, Key: &key, UploadId: &id})
		if code, _ := statusOf(err); code == "NoSuchUpload" {
			return nil
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
