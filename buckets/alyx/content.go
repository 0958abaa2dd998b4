package alyx

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets"
)

// ErrContent reports a file whose bytes are not those that its row tells of.
var ErrContent = errors.New("the content is not what Alyx's row says")

// Dir is a directory of a backend on disk that holds the files of one bucket.
type Dir string

// Open implements Files. It does not follow links out of the directory, and opens
// nothing but files: a pipe would be waited for.
func (d Dir) Open(_ context.Context, id string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(id, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file: its mode is %s", f.Name(), info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Objects are the files of a bucket in S3, by a driver of that bucket, without a
// prefix.
type Objects struct{ Backend backend.Backend }

// readAhead is how much of an object is asked for at a time.
const readAhead = 4 << 20

// Open implements Files.
func (o Objects) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	info, err := o.Backend.Stat(ctx, id)
	if err != nil {
		return nil, err
	}
	at := &objectReader{ctx, o.Backend, id}
	return io.NopCloser(bufio.NewReaderSize(io.NewSectionReader(at, 0, info.Size), readAhead)), nil
}

type objectReader struct {
	ctx  context.Context
	from backend.Backend
	key  string
}

func (r *objectReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.from.ReadAt(r.ctx, r.key, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// storeContent stores the content of a row.
func (im *importing) storeContent(ctx context.Context, b *buckets.Bucket, name string, r *row, opts *buckets.PutOptions) (f *buckets.File, err error) {
	return f, im.eachTry(ctx, r, func(content io.Reader) error {
		f, err = b.Put(ctx, name, content, opts)
		return err
	})
}

// tryContent does what storeContent does, but for storing.
func (im *importing) tryContent(ctx context.Context, b *buckets.Bucket, name string, r *row, opts *buckets.PutOptions) error {
	if !r.compressed {
		opts.Size, opts.SizeKnown = r.size, true
	}
	if err := b.CheckPut(ctx, name, opts); err != nil {
		return err
	}
	return im.eachTry(ctx, r, func(content io.Reader) error {
		_, err := io.Copy(io.Discard, content)
		return err
	})
}

// eachTry calls fn with the content of a row, which ends in ErrContent if it is not
// the one that the row tells of. A row need not tell that its file is compressed: if
// the bytes as they lie there are wrong and look compressed, fn is called once more
// with what they are decompressed.
func (im *importing) eachTry(ctx context.Context, r *row, fn func(io.Reader) error) error {
	codec := ""
	if r.compressed {
		codec = r.codec
		if codec == "" {
			var err error
			if codec, err = im.sniffCodec(ctx, r); err != nil {
				return err
			}
		}
	}
	err := im.withContent(ctx, r, codec, fn)
	if !errors.Is(err, ErrContent) || r.compressed || r.checksum == nil {
		return err
	}
	if codec, serr := im.sniffCodec(ctx, r); serr == nil && codec != "" {
		if im.withContent(ctx, r, codec, fn) == nil {
			return nil
		}
	}
	return err
}

// sniffCodec finds out how a file is compressed, "" if it is not.
func (im *importing) sniffCodec(ctx context.Context, r *row) (string, error) {
	f, err := im.src.Files[r.bucket].Open(ctx, r.id)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip", nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "zstd", nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = nil
	}
	return "", err
}

// maxWindow bounds the memory of a file that is decompressed.
const maxWindow = 64 << 20

func (im *importing) withContent(ctx context.Context, r *row, codec string, fn func(io.Reader) error) error {
	f, err := im.src.Files[r.bucket].Open(ctx, r.id)
	if err != nil {
		return fmt.Errorf("file %s of bucket %q in Alyx's backend: %w", r.id, r.bucket, err)
	}
	defer f.Close()
	var content io.Reader = f
	switch codec {
	case "":
	case "gzip":
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrContent, err)
		}
		content = z
	case "zstd":
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrContent, err)
		}
		defer z.Close()
		content = z
	default:
		return fmt.Errorf("compression_type %.80q: want gzip or zstd", codec)
	}
	r.plain = 0
	v := &verifier{r: content, row: r, decoded: codec != ""}
	if r.checksum != nil {
		v.sum = sha256.New()
	}
	return fn(v)
}

// A verifier is the content of a row. In place of its end it gives ErrContent if it
// is not the one that the row tells of.
type verifier struct {
	r       io.Reader
	row     *row
	decoded bool
	sum     hash.Hash // nil if the row has no checksum
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.row.plain += int64(n)
	if v.sum != nil {
		v.sum.Write(p[:n])
	}
	if over := v.row.plain > max(v.row.size, v.row.original); over && !v.decoded || err == io.EOF {
		if bad := v.compareContent(); bad != nil {
			return n, bad
		}
	}
	if err != nil && err != io.EOF && v.decoded {
		err = fmt.Errorf("%w: it cannot be decompressed: %w", ErrContent, err)
	}
	return n, err
}

// compareContent compares what has come with the row. Of a compressed file size may be that
// of either form: where there is a checksum, that alone decides.
func (v *verifier) compareContent() error {
	r := v.row
	if r.plain != r.size && (r.original == 0 || r.plain != r.original) && !(v.decoded && v.sum != nil) {
		return fmt.Errorf("%w: it has %d bytes or more, and should have %d", ErrContent, r.plain, r.size)
	}
	if v.sum == nil {
		return nil
	}
	if sum := v.sum.Sum(nil); !bytes.Equal(sum, r.checksum) {
		return fmt.Errorf("%w: it has SHA-256 %x, and should have %x", ErrContent, sum, r.checksum)
	}
	return nil
}
