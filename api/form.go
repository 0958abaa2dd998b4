package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/cairn-store/cairn/buckets"
)

const (
	maxParts = 64       // of a multipart body
	maxField = 64 << 10 // bytes of a multipart field
)

// An uploadForm is a multipart body that brings a file. What has a file name is
// a file, all other parts are fields; they may come before the file and after
// it. It is read as a stream, so the rules decide about what came before the
// file when it begins, and about all of it when it has ended.
type uploadForm struct {
	u     *uploadRequest
	parts *multipart.Reader
	count int
	file  *multipart.Part
	err   error // that all later reads of the file return
	late  bool  // a field came after the file
}

// readToFile reads the fields up to the part "file", which becomes the body.
func (f *uploadForm) readToFile() error {
	part, err := f.readFields()
	if err == io.EOF {
		return fmt.Errorf("no part is called \"file\" and has a file name: %w", errMultipart)
	}
	if err != nil {
		return err
	}
	if name := part.FormName(); name != "file" {
		return fmt.Errorf("no part is called \"file\": the part with the file is called %.80q: %w", name, errMultipart)
	}
	u := f.u
	if u.name == "" {
		u.name = part.FileName()
	}
	if mediaType, _, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err == nil {
		u.opts.MIMEType = mediaType
	}
	f.file, u.body, u.opts.Amend = part, f, f.amendOptions
	return nil
}

// readFields sets options by the fields up to the next file, which it returns,
// or the end of the form, which is io.EOF.
func (f *uploadForm) readFields() (*multipart.Part, error) {
	for ; f.count < maxParts; f.count++ {
		part, err := f.parts.NextRawPart()
		if err == io.EOF {
			return nil, io.EOF
		}
		if err != nil {
			return nil, formError(err)
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil {
			return nil, fmt.Errorf("Content-Disposition %.80q of a part: %w: %w", part.Header.Get("Content-Disposition"), err, errMultipart)
		}
		if err := checkPartCoding(part); err != nil {
			return nil, err
		}
		if _, isFile := params["filename"]; isFile {
			return part, nil
		}
		if err := f.setField(part); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d parts: %w", maxParts, errMultipart)
}

// checkPartCoding refuses a part in a coding, as checkCoding does a body.
func checkPartCoding(part *multipart.Part) error {
	if coding := codingOf(part.Header); coding != "" {
		return &codingError{coding, "identity"}
	}
	switch coding := strings.ToLower(part.Header.Get("Content-Transfer-Encoding")); coding {
	case "", "7bit", "8bit", "binary":
		return nil
	default:
		return fmt.Errorf("Content-Transfer-Encoding %.30q of a part: use binary: %w", coding, errMediaType)
	}
}

func (f *uploadForm) setField(part *multipart.Part) error {
	name := part.FormName()
	value, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return formError(err)
	}
	if len(value) > maxField {
		return fmt.Errorf("form field %.80q has no file name and is larger than 64 KiB; the file is to be in the part \"file\", with a file name: %w",
			name, errTooLarge)
	}
	if f.file != nil {
		if name == "digests" {
			return fmt.Errorf("form field \"digests\" comes after the file: send it before: %w", errMultipart)
		}
		f.late = true
	}
	return f.u.setField(name, string(value))
}

// Read reads the file. It ends with io.EOF only if the form ends after it: a
// form that breaks off makes no file.
func (f *uploadForm) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.file.Read(p)
	if err == io.EOF {
		err = f.readToEnd()
	} else if err != nil {
		err = formError(err)
	}
	f.err = err
	return n, err
}

// readToEnd reads the fields after the file. It returns io.EOF if the form ends
// with them.
func (f *uploadForm) readToEnd() error {
	part, err := f.readFields()
	if err != nil {
		return err
	}
	return fmt.Errorf("part %.80q is another file: send one a request: %w", part.FormName(), errMultipart)
}

// amendOptions returns what the fields after the file have changed.
func (f *uploadForm) amendOptions() (name string, opts *buckets.PutOptions) {
	if !f.late {
		return "", nil
	}
	if f.u.chooseConflict != nil {
		f.u.chooseConflict()
	}
	return f.u.name, &f.u.opts
}

// formError marks an error as one of the form, unless it is one of the body.
func formError(err error) error {
	if errors.Is(err, errBody) || errors.Is(err, errSlow) {
		return err
	}
	return fmt.Errorf("%w: %w", errMultipart, err)
}
