package local_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
)

// options are those of the tests here: two buckets, one of them with chunks
// so small that files soon have segments, and packs that fill up.
func options() *local.Options {
	return &local.Options{
		Buckets: map[string]buckets.Policy{
			"a": {Domain: "local", Compression: cas.Compression{Codec: cas.Zstd}, Profile: "fine", Digests: []string{"sha256"}},
			"b": {Domain: "local", Uncompressed: true},
		},
		PackSize: 512 << 10,
	}
}

func bucket(t *testing.T, s *buckets.Store, name string) *buckets.Bucket {
	t.Helper()
	b, err := s.Bucket(name)
	must(t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump is all rows of a store by manifest ID.
func dump(t *testing.T, s *buckets.Store) map[string]buckets.Row {
	t.Helper()
	rows := make(map[string]buckets.Row)
	for r, err := range s.Dump(context.Background()) {
		must(t, err)
		rows[r.ID] = r
	}
	return rows
}

func sameRows(t *testing.T, got, want map[string]buckets.Row) {
	t.Helper()
	for id := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("a row too many: %+v", got[id])
		}
	}
	for id, w := range want {
		if g, ok := got[id]; !ok {
			t.Errorf("row %s of %q is missing", id, w.Name)
		} else if !reflect.DeepEqual(g, w) {
			t.Errorf("row %s\n got %+v\nwant %+v", id, g, w)
		}
	}
}

// content returns the whole of a version, or what keeps it from being read.
func content(b *buckets.Bucket, id string) ([]byte, error) {
	o, err := b.Open(context.Background(), id, &buckets.GetOptions{Trashed: true})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

func sum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// text returns about n bytes that compress.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, 0, n+32)
	for len(p) < n {
		p = append(p, "line "...)
		p = strconv.AppendInt(p, r.Int64N(1e9), 10)
		p = append(p, '\n')
	}
	return p
}

// soak returns how many seeds to try: CAIRN_SOAK, or few.
func soak(few int) int {
	if n, err := strconv.Atoi(os.Getenv("CAIRN_SOAK")); err == nil {
		return n
	}
	return few
}

func jsonOf(m map[string]any) string {
	p, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(p)
}
