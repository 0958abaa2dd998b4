package s3backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cairn-store/cairn/backend"
)

// List implements backend.Backend. It makes a request for every thousand keys.
// Services yield keys in orders of their own, and some repeat keys at the seam of
// two pages.
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
		seen := make(map[string]bool)
		for barren := 0; barren < maxBarrenPages; barren++ {
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
				key, ours := strings.CutPrefix(decodeKey(aws.ToString(o.Key), page.EncodingType), b.opts.Prefix)
				if !ours || !backend.ValidKey(key) || seen[key] {
					continue
				}
				seen[key] = true
				barren = -1
				if !yield(backend.Info{Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			if next := aws.ToString(page.NextContinuationToken); next == "" || next == aws.ToString(in.ContinuationToken) {
				yield(backend.Info{}, wrapError("list", prefix, fmt.Errorf("%w: a page says that there are more, and not where", backend.ErrUnavailable)))
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
		yield(backend.Info{}, wrapError("list", prefix, fmt.Errorf("%w: %d pages without a new key", backend.ErrUnavailable, maxBarrenPages)))
	}
}

// maxBarrenPages is after how many pages in a row without a new key a list is
// given up.
const maxBarrenPages = 1000

// decodeKey returns a key as it was before the service encoded it, which some do
// unasked.
func decodeKey(key string, encoding types.EncodingType) string {
	if encoding == types.EncodingTypeUrl {
		if plain, err := url.QueryUnescape(key); err == nil {
			return plain
		}
	}
	return key
}

// maxSweepPages bounds the list of multipart uploads that one Sweep reads, a
// thousand a page.
const maxSweepPages = 1000

// Sweep implements backend.Remote: it aborts multipart uploads that were neither
// completed nor aborted. A crash leaves such uploads, and services charge for
// their parts. One of which the service does not say when it was begun is left
// alone. Sweep returns how many it has aborted.
func (b *Backend) Sweep(ctx context.Context, before time.Time) (n int, err error) {
	met, n, err := b.sweepPrefix(ctx, b.opts.Prefix, before)
	if err == nil && met == 0 && b.opts.Prefix != "" {
		// Some services know no prefix here: they list all uploads, or those of
		// a key. Others let the credentials list no more than the prefix.
		met, n, err = b.sweepPrefix(ctx, "", before)
		var f *failure
		if met == 0 && errors.As(err, &f) && isFinal(f.cause) {
			return n, nil
		}
	}
	return n, wrapError("sweep", b.opts.Prefix, err)
}

// sweepPrefix aborts the uploads that Sweep is for among those that the service
// lists for a prefix. It returns how many of the backend it has met.
func (b *Backend) sweepPrefix(ctx context.Context, prefix string, before time.Time) (met, n int, err error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &b.opts.Bucket}
	if prefix != "" {
		in.Prefix = &prefix
	}
	for range maxSweepPages {
		var page *s3.ListMultipartUploadsOutput
		err := b.withRetries(ctx, func() (err error) {
			page, err = b.client.ListMultipartUploads(ctx, in)
			return err
		})
		if err != nil {
			return met, n, err
		}
		for _, u := range page.Uploads {
			key := decodeKey(aws.ToString(u.Key), page.EncodingType)
			if !strings.HasPrefix(key, b.opts.Prefix) {
				continue
			}
			met++
			if u.Initiated == nil || !u.Initiated.Before(before) {
				continue
			}
			if err := b.abortMultipart(ctx, key, aws.ToString(u.UploadId)); err != nil {
				return met, n, fmt.Errorf("%s: %w", key, err)
			}
			n++
		}
		stands := aws.ToString(page.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(page.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker)
		if !aws.ToBool(page.IsTruncated) || stands {
			break
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
	return met, n, nil
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
