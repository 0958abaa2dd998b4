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
	"net/http"
	"strings"

	"github.com/zeebo/blake3"
)

// algorithms are those of Upload-Checksum; the protocol demands sha1.
const algorithms = "sha1,sha256,sha512,blake3,md5,crc32"

func newHash(name string) hash.Hash {
	switch name {
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	case "blake3":
		return blake3.New()
	case "md5":
		return md5.New()
	case "crc32":
		return crc32.NewIEEE()
	}
	return nil
}

// A sum is a checksum that a body must have.
type sum struct {
	hash hash.Hash
	want []byte
}

// checksum reads Upload-Checksum, nil if there is none.
func checksum(r *http.Request) (*sum, error) {
	text := r.Header.Get("Upload-Checksum")
	if text == "" {
		return nil, nil
	}
	name, coded, _ := strings.Cut(text, " ")
	h := newHash(name)
	if h == nil {
		return nil, fmt.Errorf("%w: Upload-Checksum: %.30q is none of %s", ErrHeader, name, algorithms)
	}
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(coded))
	if err != nil || len(want) != h.Size() {
		return nil, fmt.Errorf("%w: Upload-Checksum: %.100q is no base64 of %d bytes", ErrHeader, coded, h.Size())
	}
	return &sum{h, want}, nil
}

func (s *sum) verify() error {
	if !bytes.Equal(s.hash.Sum(nil), s.want) {
		return ErrChecksum
	}
	return nil
}
