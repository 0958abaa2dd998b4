package buckets

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Errors of the store. Absence is fs.ErrNotExist and denial fs.ErrPermission,
// each perhaps wrapped with more detail below.
var (
	ErrNoBucket       = access.ErrNoBucket
	ErrNoFile         = access.ErrNoFile
	ErrNoVersion      = concept("no such version", fs.ErrNotExist)
	ErrExist          = concept("name is taken", fs.ErrExist)
	ErrPurged         = concept("a file of this ID was removed for good", fs.ErrExist)
	ErrPrecondition   = errors.New("precondition failed")
	ErrName           = names.ErrName
	ErrSize           = errors.New("content is not of the declared size")
	ErrMetadata       = errors.New("metadata is not allowed")
	ErrDigestName     = errors.New("unknown digest")
	ErrCursor         = errors.New("cursor is not one that this listing has given")
	ErrListTooLong    = errors.New("listing is too long")
	ErrLastVersion    = errors.New("the only version of a file cannot be deleted; delete the file")
	ErrNotTrashed     = errors.New("file is not in the trash")
	ErrTooLarge       = errors.New("file is larger than its bucket takes")
	ErrChangeTooLarge = manifest.ErrTooLarge // nothing was changed
	ErrQuota          = concept("quota is used up", fs.ErrPermission)
	ErrType           = errors.New("files of this type are not taken")
	ErrTypeMismatch   = errors.New("content is not what the upload says it is")
	ErrBucketDisabled = access.ErrBucketDisabled
	ErrNoUpload       = concept("no such upload", fs.ErrNotExist)
	ErrUploadExpired  = concept("upload has expired", ErrNoUpload)
	ErrUploadInvalid  = concept("more has come than the length of the upload: it is not valid any more", ErrNoUpload)
	ErrEvicted        = concept("upload was given up for what its uploader stored later: unfinished uploads count in the quotas", ErrQuota)
	ErrOffset         = errors.New("upload stands at another offset")
	ErrLength         = concept("length of the upload is not what it was said to be", ErrSize)
	ErrOverrun        = concept("more than the length of the upload", ErrTooLarge)
	ErrDigest         = errors.New("content does not have the digest that it was said to have")
	ErrComplete       = errors.New("upload is complete")
	ErrPart           = errors.New("upload is not a whole part")
	ErrBase           = errors.New("file cannot be a base of the upload")
	ErrList           = errors.New("chunk list is not valid")
	ErrListOffset     = errors.New("chunk list is not of that length")
	ErrMissing        = errors.New("chunks are missing")
	ErrChunkDigest    = errors.New("chunk does not have its digest")
	ErrChunkTooLarge  = errors.New("chunk is too large")
	ErrInterrupted    = errors.New("another request goes on with the upload")
	ErrNoSpace        = errors.New("storage is full")
	ErrClosed         = cas.ErrClosed
	ErrUnavailable    = backend.ErrUnavailable // it may be there later
	ErrOwned          = backend.ErrOwned       // until an operator takes it back

	// ErrChunksGone reports that chunks which were stored when the upload began
	// were damaged or collected when it ended: it must be sent again.
	ErrChunksGone = errors.New("stored chunks that the upload counted on are gone; send it again")
)

// A conceptError is a kind of a wider concept, such as fs.ErrNotExist, and says
// so to errors.Is, not to people.
type conceptError struct {
	text string
	of   error
}

func concept(text string, of error) error { return &conceptError{text, of} }

func (e *conceptError) Error() string { return e.text }
func (e *conceptError) Unwrap() error { return e.of }

// An OffsetError is an ErrOffset that says where the upload stands.
type OffsetError struct{ Stands, Given int64 }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("offset %d, it stands at %d: %v", e.Given, e.Stands, ErrOffset)
}
func (e *OffsetError) Unwrap() error { return ErrOffset }

// WrapSpace gives every layer's want of space one name.
func WrapSpace(err error) error {
	if err != nil && errors.Is(err, backend.ErrNoSpace) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
