package buckets

import (
	"context"
	"fmt"
	"io"
	"math"
	"mime"
	"path"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// A TypeCheck says what an upload's media type is judged by.
type TypeCheck string

const (
	// TypeSniff judges by what is found in the content. It is the default.
	TypeSniff TypeCheck = "sniff"
	// TypeDeclared judges by what the uploader says, and where nothing is
	// said by the content.
	TypeDeclared TypeCheck = "declared"
	// TypeStrict judges by the content, and demands that the declaration and
	// the name's extension agree with it.
	TypeStrict TypeCheck = "strict"
)

// Limits bound what a bucket takes. Zero values do not. Sums are of logical
// bytes: of all versions, those in the trash included.
type Limits struct {
	MaxFileSize  int64
	MaxTotalSize int64 // of the bucket
	MaxOwnerSize int64 // of one owner's files in the bucket; not for files without owner

	Types      []string // media types: "image/png", "image/*", "*/*"
	Extensions []string // ends of names in lower case, without the dot
	TypeCheck  TypeCheck
}

// CheckSize judges the size of a file.
func (l *Limits) CheckSize(size int64) error {
	if l.MaxFileSize > 0 && size > l.MaxFileSize {
		return fmt.Errorf("%d bytes, at most %d are taken: %w", size, l.MaxFileSize, ErrTooLarge)
	}
	return nil
}

// checkName checks a name's extension. "archive.tar.gz" ends in gz and in
// tar.gz.
func (l *Limits) checkName(name string) error {
	if len(l.Extensions) == 0 {
		return nil
	}
	lower := strings.ToLower(name)
	for _, e := range l.Extensions {
		if strings.HasSuffix(lower, "."+e) {
			return nil
		}
	}
	return fmt.Errorf("name %q: want an extension of %s: %w", names.Clip(name), strings.Join(l.Extensions, ", "), ErrType)
}

// CheckType checks the type of content. found is what its first bytes show.
func (l *Limits) CheckType(name, declared string, found *mimetype.MIME) error {
	sniffed, _, _ := strings.Cut(found.String(), ";")
	if d, _, err := mime.ParseMediaType(declared); err == nil {
		declared = d
	}
	judged := sniffed
	switch l.TypeCheck {
	case TypeDeclared:
		if declared != "" {
			judged = declared
		}
	case TypeStrict:
		if err := checkAgree(name, declared, found); err != nil {
			return err
		}
	}
	return l.checkJudged(judged)
}

func (l *Limits) checkJudged(judged string) error {
	if len(l.Types) == 0 || slices.ContainsFunc(l.Types, func(t string) bool { return Covers(t, judged) }) {
		return nil
	}
	return fmt.Errorf("type %q: want one of %s: %w", names.Clip(judged), strings.Join(l.Types, ", "), ErrType)
}

// Covers reports whether a media type, or a range of them such as image/*,
// covers another.
func Covers(t, mediaType string) bool {
	if t == "*/*" || t == mediaType {
		return true
	}
	family, wild := strings.CutSuffix(t, "*")
	return wild && strings.HasPrefix(mediaType, family)
}

// checkAgree checks that the declaration and the name say what was found in the
// content, or something that is a kind of it: JSON is text, and a document of
// an office is a zip. application/octet-stream declares nothing.
func checkAgree(name, declared string, found *mimetype.MIME) error {
	if declared != "" && declared != "application/octet-stream" && !kindOf(declared, found) {
		return fmt.Errorf("declared as %q, found to be %q: %w", names.Clip(declared), found, ErrTypeMismatch)
	}
	ext := strings.ToLower(path.Ext(name))
	said, _, _ := strings.Cut(mime.TypeByExtension(ext), ";")
	if ext == found.Extension() || said == "" || kindOf(said, found) {
		return nil
	}
	return fmt.Errorf("name %q says %q, found to be %q: %w", names.Clip(name), said, found, ErrTypeMismatch)
}

// kindOf reports whether said is the type found, one that it is a kind of, or
// a kind of it that cannot be told from its first bytes.
func kindOf(said string, found *mimetype.MIME) bool {
	for m := found; m != nil; m = m.Parent() {
		if m.Is(said) && m.String() != "application/octet-stream" {
			return true
		}
	}
	known := mimetype.Lookup(said)
	if known == nil {
		return found.Is("text/plain") && strings.HasPrefix(said, "text/") || found.Is("application/octet-stream")
	}
	// Text of a kind that has no mark of its own may look like plain text.
	for m := known.Parent(); m != nil; m = m.Parent() {
		if m.Is(found.String()) && found.Is("text/plain") {
			return true
		}
	}
	return false
}

// checkRow checks the name and type of stored content, for a rename or a copy.
func (l *Limits) checkRow(name string, m *manifest.Manifest) error {
	if err := l.checkName(name); err != nil {
		return err
	}
	judged := m.MIMEType
	if l.TypeCheck == TypeDeclared && m.DeclaredMIMEType != "" {
		judged = m.DeclaredMIMEType
	}
	if found := mimetype.Lookup(m.MIMEType); l.TypeCheck == TypeStrict && found != nil {
		if err := checkAgree(name, m.DeclaredMIMEType, found); err != nil {
			return err
		}
	}
	return l.checkJudged(judged)
}

// usages sum up buckets and owners. A store and a transaction implement it.
type usages interface {
	Usage(ctx context.Context, bucket string) (manifest.Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (manifest.Usage, error)
}

// room is how many more bytes fit, and the error of more. Inside the
// transaction that adds them the answer is exact.
func (l *Limits) room(ctx context.Context, sums usages, bucket, owner string) (int64, error, error) {
	left, over := int64(math.MaxInt64), error(nil)
	if l.MaxTotalSize > 0 {
		u, err := sums.Usage(ctx, bucket)
		if err != nil {
			return 0, nil, err
		}
		left = l.MaxTotalSize - u.Bytes - u.TrashedBytes
		// How much it holds is only for those who may list it.
		over = fmt.Errorf("bucket %q takes %d bytes in all: %w", bucket, l.MaxTotalSize, ErrQuota)
	}
	if l.MaxOwnerSize > 0 && owner != "" {
		u, err := sums.OwnerUsage(ctx, bucket, owner)
		if err != nil {
			return 0, nil, err
		}
		if n := l.MaxOwnerSize - u.Bytes - u.TrashedBytes; n < left {
			left = n
			over = fmt.Errorf("the files of one owner may take %d bytes in all: %w", l.MaxOwnerSize, ErrQuota)
		}
	}
	return left, over, nil
}

// checkQuota checks that size more bytes fit. Fewer always do.
func (l *Limits) checkQuota(ctx context.Context, sums usages, bucket, owner string, size int64) error {
	if size < 0 {
		return nil
	}
	left, over, err := l.room(ctx, sums, bucket, owner)
	if err == nil && size > left {
		return over
	}
	return err
}

// A limitedReader fails when its stream is longer than it may be.
type limitedReader struct {
	r    io.Reader
	left int64
	over error // what it fails with
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, r.over
	}
	return n, err
}
