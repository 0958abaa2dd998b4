package buckets_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

// eicar finds nothing but the word that stands for a virus here.
type eicar struct{}

func (eicar) Scan(ctx context.Context, c *buckets.Candidate) (buckets.Verdict, error) {
	content := c.Open(ctx)
	defer content.Close()
	p, err := io.ReadAll(content) // a real one gets the content as a stream
	if err != nil {
		return buckets.Verdict{}, err // it is scanned again
	}
	if bytes.Contains(p, []byte("EICAR")) {
		return buckets.Verdict{Found: "EICAR test file"}, nil
	}
	return buckets.Verdict{}, nil
}

// A Scanner looks at each version before it becomes the current one.
func ExampleScanner() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := local.Open(ctx, dir, &local.Options{Scanner: eicar{}})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	bucket, err := store.Bucket("demo")
	if err != nil {
		log.Fatal(err)
	}
	for _, content := range []string{"hello", "EICAR"} {
		file, err := bucket.Put(ctx, "file.txt", strings.NewReader(content), nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("stored:", file.State, file.Version)
		if _, err := store.ScanQuarantine(ctx); err != nil { // which store.Run does
			log.Fatal(err)
		}
		current, err := bucket.StatPath(ctx, "file.txt")
		fmt.Println("current:", current.State, current.Version, err)
	}
	for held, err := range store.Quarantine(ctx) {
		fmt.Println("in quarantine:", held.Version, held.Found, err)
	}
	// Output:
	// stored: quarantined 1
	// current: active 1 <nil>
	// stored: quarantined 2
	// current: active 1 <nil>
	// in quarantine: 2 EICAR test file <nil>
}
