package s3backend

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// A multipart is a multipart upload under way, Options.Parts parts at a time.
type multipart struct {
	b   *Backend
	top context.Context    // of the Writer
	ctx context.Context    // of the parts: cancelled when one fails, and by end
	end context.CancelFunc // of ctx
	key string
	id  string          // that the service has given the upload
	g   *errgroup.Group // of the parts

	proof proof // of the parts
	mu    sync.Mutex
	parts []types.CompletedPart // by number; guarded by mu
}

func (b *Backend) startMultipart(ctx context.Context, key, token string, p proof) (*multipart, error) {
	m := &multipart{b: b, top: ctx, key: key, proof: p}
	sse, kms := b.opts.serverEncryption()
	err := b.withRetries(ctx, func() error {
		out, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
			Bucket: &b.opts.Bucket, Key: b.fullKey(key),
			ContentType: aws.String("application/octet-stream"), Metadata: map[string]string{tokenKey: token},
			StorageClass: types.StorageClass(b.opts.StorageClass), ServerSideEncryption: sse, SSEKMSKeyId: kms,
		})
		if err == nil {
			m.id = aws.ToString(out.UploadId)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, m.end = context.WithCancel(ctx)
	m.g, m.ctx = errgroup.WithContext(ctx)
	m.g.SetLimit(b.opts.Parts)
	return m, nil
}

// sendPart starts sending a part, and frees it afterwards. It waits while
// Options.Parts others are being sent.
func (m *multipart) sendPart(d body) error {
	if m.ctx.Err() != nil {
		d.free()
		return m.waitParts()
	}
	m.mu.Lock()
	m.parts = append(m.parts, types.CompletedPart{})
	n := len(m.parts)
	m.mu.Unlock()
	m.g.Go(func() error {
		defer d.free()
		return m.b.withRetries(m.ctx, func() error { return m.putPart(&d, n) })
	})
	return nil
}

// putPart makes one attempt to send part n.
func (m *multipart) putPart(d *body, n int) error {
	r := d.reader()
	defer r.stop()
	out, err := m.b.client.UploadPart(m.ctx, &s3.UploadPartInput{Bucket: &m.b.opts.Bucket, Key: m.b.fullKey(m.key),
		UploadId: &m.id, PartNumber: aws.Int32(int32(n)), Body: r, ContentLength: &d.size, ContentMD5: d.digest(m.proof)})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[n-1] = types.CompletedPart{PartNumber: aws.Int32(int32(n)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
	return nil
}

// waitParts returns when all parts have been sent, or why one was not.
func (m *multipart) waitParts() error {
	defer m.end()
	if err := m.g.Wait(); err != nil {
		return err
	}
	return m.top.Err()
}

// complete makes one attempt to join the parts to an object.
func (m *multipart) complete(condition *string) error {
	_, err := m.b.client.CompleteMultipartUpload(m.top, &s3.CompleteMultipartUploadInput{
		Bucket: &m.b.opts.Bucket, Key: m.b.fullKey(m.key), UploadId: &m.id, IfNoneMatch: condition,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: m.parts}})
	return err
}

// abort aborts the upload, also when the Writer's context is done.
func (m *multipart) abort() error {
	m.end()
	m.g.Wait() // parts that arrive later would stay
	return m.b.abortMultipart(context.WithoutCancel(m.top), *m.b.fullKey(m.key), m.id)
}
