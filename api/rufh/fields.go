package rufh

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

// In these functions a field that is not valid counts as absent.

func parseItem(h http.Header, name string) any {
	if len(h.Values(name)) == 0 {
		return nil
	}
	it, err := httpsfv.UnmarshalItem(h.Values(name))
	if err != nil {
		return nil
	}
	return it.Value
}

func parseBoolean(h http.Header, name string) (value, ok bool) {
	value, ok = parseItem(h, name).(bool)
	return value, ok
}

// parseNumber returns the number of a field, -1 without one.
func parseNumber(h http.Header, name string) int64 {
	if n, ok := parseItem(h, name).(int64); ok && n >= 0 {
		return n
	}
	return -1
}

// A digest is an algorithm of digest fields (RFC 9530).
type digest struct {
	field, name string // in fields, and in this program
	new         func() hash.Hash
}

func digestAlgorithms() []digest {
	return []digest{{"sha-512", "sha512", sha512.New}, {"sha-256", "sha256", sha256.New}}
}

// statedDigests returns the digests that a field states, by our names. It
// leaves out unknown algorithms.
func statedDigests(h http.Header, field string) map[string][]byte {
	dict, err := httpsfv.UnmarshalDictionary(h.Values(field))
	if err != nil {
		return nil
	}
	var out map[string][]byte
	for _, d := range digestAlgorithms() {
		m, _ := dict.Get(d.field)
		it, _ := m.(httpsfv.Item)
		if sum, ok := it.Value.([]byte); ok {
			if out == nil {
				out = make(map[string][]byte)
			}
			out[d.name] = sum
		}
	}
	return out
}

// wantsDigest reports whether Want-Repr-Digest asks for an algorithm.
func wantsDigest(h http.Header, field string) bool {
	dict, err := httpsfv.UnmarshalDictionary(h.Values("Want-Repr-Digest"))
	if err != nil {
		return false
	}
	m, _ := dict.Get(field)
	it, _ := m.(httpsfv.Item)
	weight, _ := it.Value.(int64)
	return weight > 0
}

// reprDigest returns the Repr-Digest of a file, "" if no digest is known.
func reprDigest(f *buckets.File) string {
	dict := httpsfv.NewDictionary()
	for _, d := range digestAlgorithms() {
		if sum, err := hex.DecodeString(f.Checksums[d.name]); err == nil && len(sum) > 0 {
			dict.Add(d.field, httpsfv.NewItem(sum))
		}
	}
	if len(dict.Names()) == 0 {
		return ""
	}
	return marshalField(dict)
}

func formatBoolean(v bool) string {
	if v {
		return "?1"
	}
	return "?0"
}

// formatLimits returns the Upload-Limit of a policy, for uploads that expire
// in age.
func formatLimits(p *buckets.Policy, age time.Duration) string {
	dict := httpsfv.NewDictionary()
	if n := p.Limits.MaxFileSize; n > 0 {
		dict.Add("max-size", httpsfv.NewItem(n))
	}
	if n := p.Appends.MinSize; n > 0 || p.Limits.MaxFileSize+p.Appends.MaxAppend+p.Appends.MinAppend == 0 {
		dict.Add("min-size", httpsfv.NewItem(n))
	}
	if n := p.Appends.MaxAppend; n > 0 {
		dict.Add("max-append-size", httpsfv.NewItem(n))
	}
	if n := p.Appends.MinAppend; n > 0 {
		dict.Add("min-append-size", httpsfv.NewItem(n))
	}
	dict.Add("max-age", httpsfv.NewItem(int64(max(age.Seconds(), 0))))
	return marshalField(dict)
}

func marshalField(v httpsfv.StructuredFieldValue) string {
	text, err := httpsfv.Marshal(v)
	if err != nil {
		panic(err) // callers pass numbers and bytes only
	}
	return text
}

func isPartial(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == contentType
}

// expectWhole reads what a creation states about the digests of the whole
// file.
func (x *exchange) expectWhole(opts *upload.Options) error {
	opts.Expect = statedDigests(x.r.Header, "Repr-Digest")
	if opts.Expect["sha256"] == nil && !wantsDigest(x.r.Header, "sha-256") {
		return nil
	}
	if opts.Digests == nil {
		opts.Digests = slices.Clone(x.b.Policy().Digests)
	}
	if !slices.Contains(opts.Digests, "sha256") {
		opts.Digests = append(opts.Digests, "sha256")
	}
	return nil
}
