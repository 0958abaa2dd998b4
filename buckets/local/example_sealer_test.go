package local_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// An aesSealer seals with AES-GCM, which takes care of its nonces.
type aesSealer map[uint64]cipher.AEAD

func newAESSealer(keys map[uint64][]byte) (aesSealer, error) {
	s := make(aesSealer)
	for n, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if s[n], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Key is the number of the key to seal with from now on.
func (s aesSealer) Key() uint64 { return 1 }

func (s aesSealer) Seal(dst []byte, key uint64, ad, plain []byte) ([]byte, error) {
	return s[key].Seal(dst, nil, plain, ad), nil
}

func (s aesSealer) Open(dst []byte, key uint64, ad, sealed []byte) ([]byte, error) {
	aead, ok := s[key]
	if !ok {
		return nil, cas.ErrKey // it is no damage
	}
	return aead.Open(dst, nil, sealed, ad)
}

// A Sealer encrypts what lies in a backend.
func ExampleBackend_sealer() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sealer, err := newAESSealer(map[uint64][]byte{1: bytes.Repeat([]byte{7}, 32)}) // from where keys are kept
	if err != nil {
		log.Fatal(err)
	}
	ctx, packs := context.Background(), filepath.Join(dir, "packs")
	store, err := local.Open(ctx, dir, &local.Options{Backends: map[string]local.Backend{"local": {Path: packs, Sealer: sealer}}})
	if err != nil {
		log.Fatal(err)
	}
	bucket, err := store.Bucket("demo")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := bucket.Put(ctx, "diary.txt", strings.NewReader("dear diary"), nil); err != nil {
		log.Fatal(err)
	}
	shows, err := fs.ReadFile(bucket.FS(ctx), "diary.txt")
	fmt.Printf("%s %v\n", shows, err)
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}

	filepath.WalkDir(packs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			p, err := os.ReadFile(path)
			fmt.Println("in the packs:", bytes.Contains(p, []byte("diary")), err)
		}
		return err
	})
	// Output:
	// dear diary <nil>
	// in the packs: false <nil>
}
