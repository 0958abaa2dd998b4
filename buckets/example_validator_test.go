package buckets_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

// noSecrets refuses what begins like a private key.
type noSecrets struct{}

func (noSecrets) Validate(ctx context.Context, c *buckets.Candidate) error {
	content := c.Open(ctx)
	defer content.Close()
	head := make([]byte, 27)
	if _, err := io.ReadFull(content, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err // it is not known: the uploader may try again
	}
	if strings.HasPrefix(string(head), "-----BEGIN PRIVATE KEY-----") {
		return buckets.Refuse(c.Name + " is a private key: it does not belong here")
	}
	return nil
}

// A Validator has the last word on what is stored.
func ExampleValidator() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := local.Open(ctx, dir, &local.Options{Validator: noSecrets{}})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	bucket, err := store.Bucket("demo")
	if err != nil {
		log.Fatal(err)
	}
	_, err = bucket.Put(ctx, "id.pem", strings.NewReader("-----BEGIN PRIVATE KEY-----\n..."), nil)
	fmt.Println(err, errors.Is(err, buckets.ErrRefused))
	file, err := bucket.Put(ctx, "notes.txt", strings.NewReader("nothing secret"), nil)
	fmt.Println(file.Name, err)
	// Output:
	// id.pem is a private key: it does not belong here true
	// notes.txt <nil>
}
