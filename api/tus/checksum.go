package tus

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"github.com/cairn-store/cairn/chunker/blake3"
)

// algorithms are the values of Tus-Checksum-Algorithm. The protocol demands
// sha1.
const algorithms = "sha1,sha256,sha512,blake3,md5,crc32"

// newHash returns the hash of one of the algorithms.
func newHash(name string) hash.Hash {
	return map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New, "md5": md5.New,
		"blake3": func() hash.Hash { return blake3.New() },
		"crc32":  func() hash.Hash { return crc32.NewIEEE() }}[name]()
}

// A sum checks a body against Upload-Checksum. The header comes before the
// body, or after it in the trailer; then all algorithms are computed, because
// the one that counts is not known yet.
type sum struct {
	io.Writer
	hashes  map[string]hash.Hash
	want    string      // Upload-Checksum
	trailer http.Header // has the checksum, if not nil
}

// readChecksum reads Upload-Checksum. It returns nil if there is none, in the
// trailer neither.
func readChecksum(r *http.Request) (*sum, error) {
	text, there, err := readOne(r.Header, "Upload-Checksum")
	if err != nil {
		return nil, err
	}
	if _, late := r.Trailer["Upload-Checksum"]; !there && !late {
		return nil, nil
	}
	s := &sum{hashes: make(map[string]hash.Hash), want: text, trailer: r.Trailer}
	said, _, _ := strings.Cut(text, " ")
	var all []io.Writer
	for name := range strings.SplitSeq(algorithms, ",") {
		if !there || name == said {
			s.hashes[name] = newHash(name)
			all = append(all, s.hashes[name])
		}
	}
	s.Writer = io.MultiWriter(all...)
	if there {
		s.trailer = nil
		_, _, err = s.parseChecksum(text)
	}
	return s, err
}

// parseChecksum returns the hash that a checksum is of, and its value. A value
// of another length than the hash's is one that no content has.
func (s *sum) parseChecksum(text string) (hash.Hash, []byte, error) {
	name, coded, _ := strings.Cut(text, " ")
	h := s.hashes[name]
	if h == nil {
		return nil, nil, fmt.Errorf("%w: Upload-Checksum: %.30q is none of %s", ErrHeader, name, algorithms)
	}
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(coded))
	if err != nil || coded == "" {
		return nil, nil, fmt.Errorf("%w: Upload-Checksum: %.100q is no base64", ErrHeader, coded)
	}
	return h, want, nil
}

func (s *sum) verify() error {
	text := s.want
	if s.trailer != nil {
		var err error
		if text, _, err = readOne(s.trailer, "Upload-Checksum"); err != nil {
			return err
		}
	}
	h, want, err := s.parseChecksum(text)
	if err == nil && !bytes.Equal(h.Sum(nil), want) {
		err = ErrChecksum
	}
	return err
}
