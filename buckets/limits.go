package buckets

import (
	"context"
	"fmt"
	"io"
	"math"
	"mime"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/buckets/mediatype"
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
// bytes: of all versions, those in the trash included, of metadata, tags and
// rules of files, and of uploads under way.
type Limits struct {
	MaxFileSize  int64
	MaxTotalSize int64 // of the bucket
	MaxOwnerSize int64 // of one owner's files in the bucket; not for files without owner

	// MaxComposedSize bounds what one request may make of stored content, by
	// naming much of it or naming it often. As much as its largest source, or the
	// parts of an upload that are joined, may always be made. 0 is 5 GB.
	MaxComposedSize int64

	Types      []string // media types: "image/png", "image/*", "*/*"
	Extensions []string // ends of names in lower case, without the dot
	TypeCheck  TypeCheck
}

// CheckSize judges the size of a file.
func (l *Limits) CheckSize(size int64) error {
	if l.MaxFileSize > 0 && size > l.MaxFileSize {
		return fmt.Errorf("%d bytes, at most %d are taken: %w", size, l.MaxFileSize, ErrTooLarge)
	}
	if size == math.MaxInt64 { // rows keep a size and one more, for what is unknown
		return fmt.Errorf("%d bytes, fewer are taken: %w", size, ErrTooLarge)
	}
	return nil
}

// CheckComposed judges the size of what one request makes of stored content.
// given is how much may be made whatever the limit.
func (l *Limits) CheckComposed(size, given int64) error {
	if size > max(l.MaxComposedSize, given) {
		return fmt.Errorf("%d bytes of stored content in one request, at most %d are made: %w", size, max(l.MaxComposedSize, given), ErrTooLarge)
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
		if strings.HasSuffix(lower, "."+names.CanonicalPath(e)) {
			return nil
		}
	}
	return fmt.Errorf("name %q: want an extension of %s: %w", names.Clip(name), strings.Join(l.Extensions, ", "), ErrType)
}

// CheckType checks the type of content, which was found to be k.
func (l *Limits) CheckType(name, declared string, k mediatype.Kind) error {
	switch l.TypeCheck {
	case TypeDeclared:
		if t, _, err := mime.ParseMediaType(declared); err == nil {
			declared = t
		}
		if declared == "" {
			break
		}
		if len(l.Types) == 0 || slices.ContainsFunc(l.Types, func(t string) bool {
			return mediatype.Covers(t, declared) || mediatype.Canonical(t) == mediatype.Canonical(declared)
		}) {
			return nil
		}
		return l.refuseType(declared)
	case TypeStrict:
		if !k.AgreesWithDeclared(declared) {
			return fmt.Errorf("declared as %q, found to be %q: %w", names.Clip(declared), k.Type, ErrTypeMismatch)
		}
		if !k.AgreesWithName(name) {
			return fmt.Errorf("name %q says %q, found to be %q: %w", names.Clip(name), mediatype.TypeByName(name), k.Type,
				ErrTypeMismatch)
		}
	}
	if len(l.Types) == 0 || k.IsOneOf(l.Types) {
		return nil
	}
	return l.refuseType(k.Type)
}

// CheckHead checks the type of content of which head has come; whole says that
// it is all. It reports false if more must come to tell, and refuses what cannot
// prove to be of a type that is taken.
func (l *Limits) CheckHead(d *mediatype.Detector, name, declared string, head []byte, whole bool) (settled bool, err error) {
	k, settled := d.Find(name, head, whole)
	if settled || l.TypeCheck == TypeDeclared && declared != "" {
		return true, l.CheckType(name, declared, k)
	}
	may := d.MayBecome(name, head)
	if len(l.Types) == 0 || may == nil || slices.ContainsFunc(may, func(t string) bool { return mediatype.Recorded(t).IsOneOf(l.Types) }) {
		return false, nil
	}
	return true, l.refuseType(k.Type)
}

func (l *Limits) refuseType(judged string) error {
	return fmt.Errorf("type %q: want one of %s: %w", names.Clip(judged), strings.Join(l.Types, ", "), ErrType)
}

// checkRow checks the name and type of stored content, for a rename or a copy.
func (l *Limits) checkRow(name string, m *manifest.Manifest) error {
	if err := l.checkName(name); err != nil {
		return err
	}
	return l.CheckType(name, m.DeclaredMIMEType, mediatype.Recorded(m.MIMEType))
}

// usages sum up buckets and owners. A store and a transaction implement it.
type usages interface {
	Usage(ctx context.Context, bucket string) (manifest.Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (manifest.Usage, error)
}

// A Room is how many more bytes fit.
type Room struct {
	bytes int64
	over  error // of more
	now   int64 // of bytes, until leftovers are collected
}

// NewRoom returns a room of so many bytes. over is the error of more.
func NewRoom(bytes int64, over error) Room { return Room{bytes, over, math.MaxInt64} }

// Narrow makes r no larger than most bytes. over is the error of more.
func (r *Room) Narrow(most int64, over error) {
	if most < r.bytes {
		r.bytes, r.over = most, over
	}
}

// narrowNow makes r no larger than most bytes until leftovers are collected.
func (r *Room) narrowNow(most int64) { r.now = min(r.now, most) }

// widen adds n bytes.
func (r *Room) widen(n int64) {
	for _, b := range []*int64{&r.bytes, &r.now} {
		if *b < math.MaxInt64-n {
			*b += n
		}
	}
}

// Check fails if n more bytes do not fit: with ErrUncollected only if they would
// once leftovers are collected.
func (r *Room) Check(n int64) error {
	switch {
	case n > r.bytes:
		return r.over
	case n > 0 && n > r.now:
		return ErrUncollected
	}
	return nil
}

// Limit returns how long content whose length is unknown may be, 0 or more, and
// the error of more.
func (r *Room) Limit() (most int64, over error) {
	most = max(min(r.bytes, r.now), 0)
	if most == math.MaxInt64 {
		return most, nil
	}
	return most, r.Check(most + 1)
}

// findRoom returns how many more bytes fit. Inside the transaction that adds
// them the answer is exact.
func (l *Limits) findRoom(ctx context.Context, sums usages, bucket, owner string) (Room, error) {
	room := NewRoom(math.MaxInt64, nil)
	if l.MaxTotalSize > 0 {
		u, err := sums.Usage(ctx, bucket)
		if err != nil {
			return Room{}, err
		}
		// How much it holds is only for those who may list it.
		room.Narrow(l.MaxTotalSize-u.Charged(), fmt.Errorf("bucket %q takes %d bytes in all: %w", bucket, l.MaxTotalSize, ErrQuota))
	}
	if l.MaxOwnerSize > 0 && owner != "" {
		u, err := sums.OwnerUsage(ctx, bucket, owner)
		if err != nil {
			return Room{}, err
		}
		room.Narrow(l.MaxOwnerSize-u.Charged(), fmt.Errorf("the files of one owner may take %d bytes in all: %w", l.MaxOwnerSize, ErrQuota))
	}
	return room, nil
}

// checkQuota checks that size more bytes fit. Fewer always do.
func (l *Limits) checkQuota(ctx context.Context, sums usages, bucket, owner string, size int64) error {
	if size < 0 {
		return nil
	}
	room, err := l.findRoom(ctx, sums, bucket, owner)
	if err != nil {
		return err
	}
	return room.Check(size)
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
