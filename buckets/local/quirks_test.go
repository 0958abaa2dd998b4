package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

// What services do otherwise than S3: what the probe says of it, and that serve
// does what the probe says. Where it serves, bytes that are hurt on their way to
// the service are never acknowledged.
func TestQuirks(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	for _, c := range []struct {
		quirk  s3test.Quirk
		set    func(*s3backend.Options)
		lacks  map[string]string // by step of the probe, what it says in part
		refuse string            // what serve says in part; empty where it serves
		says   map[string]string // what steps that are good say in part
		parts  bool              // the probe tries parts too: they take 10 MiB
	}{
		{quirk: "", says: map[string]string{"checksums": "sums that are signed", "part checksums": "sums that are signed"}, parts: true},
		{quirk: "", set: func(o *s3backend.Options) { o.Checksums = "when_supported" }, says: map[string]string{"checksums": "sums that are signed"}},
		{quirk: "", set: func(o *s3backend.Options) { o.ReadBack = "always" }, says: map[string]string{"checksums": "read_back"}},
		{quirk: "", set: func(o *s3backend.Options) { o.Prefix = "a b+ü&%41/=" }},

		{quirk: s3test.NoSignedSums, says: map[string]string{"checksums": "Content-MD5", "part checksums": "Content-MD5"}, parts: true},
		{quirk: s3test.NoSums, lacks: map[string]string{"checksums": "read back", "part checksums": "read back"}, parts: true},
		{quirk: s3test.NoSums, set: func(o *s3backend.Options) { o.ReadBack = "never" }, lacks: map[string]string{"checksums": "read_back: auto", "part checksums": "read_back: auto"}, parts: true},
		{quirk: s3test.StrangeCode, lacks: map[string]string{"checksums": "read back", "part checksums": "read back"}, parts: true},
		{quirk: s3test.NoPartSums, says: map[string]string{"checksums": "sums that are signed"}, lacks: map[string]string{"part checksums": "read back"}, parts: true},
		{quirk: s3test.OddETags, parts: true},

		{quirk: s3test.NoConditions, lacks: map[string]string{"conditional put": "single_writer: true"}, refuse: "set single_writer: true"},
		{quirk: s3test.NoConditions, set: promiseSingle, lacks: map[string]string{"conditional put": "passed over"}},
		{quirk: s3test.RefusesConditions, lacks: map[string]string{"conditional put": "single_writer: true"}, refuse: "set single_writer: true"},
		{quirk: s3test.RefusesConditions, set: promiseSingle, lacks: map[string]string{"conditional put": "refused"}},

		{quirk: s3test.TreeOrder},
		{quirk: s3test.RepeatedKeys},
		{quirk: s3test.EmptyPages},
		{quirk: s3test.EncodedKeys},
		{quirk: s3test.EncodedKeys, set: func(o *s3backend.Options) { o.Prefix = "a b+ü&%41/=" }},
		{quirk: s3test.EndlessList, lacks: map[string]string{"list": "not where", "delete": "not where"}, refuse: "not where"},
		{quirk: s3test.LostToken, lacks: map[string]string{"list": "not where"}, refuse: "not where"},
		{quirk: s3test.LateLists, lacks: map[string]string{"list": "listed []"}, refuse: "list: listed []"},
		{quirk: s3test.ErrorsIn200, parts: true},

		{quirk: s3test.NoInitiated},
		{quirk: s3test.ExactUploads},
		{quirk: s3test.NoHeadLength},
		{quirk: s3test.FailsToDelete},
		{quirk: s3test.NoDelete, lacks: map[string]string{"delete": "deleted"}, refuse: "deleted"},
		{quirk: s3test.NoMetadata, lacks: map[string]string{"metadata": "does not come back"}, refuse: "does not come back"},
		{quirk: s3test.LateReads, lacks: map[string]string{"read after write": "does not read back"}, refuse: "does not read back"},
		{quirk: s3test.LosesParts, lacks: map[string]string{"multipart": "other bytes were stored"}, parts: true},
		{quirk: s3test.WholeForOneByte, lacks: map[string]string{"ranges": "Content-Range"}, refuse: "Content-Range"},
		{quirk: s3test.NoRanges, lacks: map[string]string{"read after write": "Content-Range"}, refuse: "Content-Range"},
		{quirk: s3test.SkewedClock, lacks: map[string]string{"clock": "set this machine's"}},
		{quirk: s3test.Redirects, lacks: map[string]string{"read after write": "correct endpoint, region"}, refuse: "there.invalid"},
		{quirk: s3test.NoStorageClass, set: setClass, lacks: map[string]string{"read after write": "correct storage_class"}, refuse: "correct storage_class"},
		{quirk: s3test.Archives, set: setClass, lacks: map[string]string{"read after write": "correct storage_class"}, refuse: "correct storage_class"},
	} {
		t.Run(string(c.quirk), func(t *testing.T) {
			t.Parallel()
			through, proxy := s3test.Quirky(t, c.quirk).Behind(t)
			far := through.Options(t)
			far.Backoff, far.PutSize, far.PartSize = time.Millisecond, 512<<10, 512<<10
			if c.set != nil {
				c.set(far)
			}
			opts := &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *far}, PackSize: 1 << 20}},
				Buckets: map[string]buckets.Policy{"b": {Domain: "far", Compression: cas.Compression{Codec: cas.Zstd}}}}
			found, err := local.Probe(t.Context(), opts, "far", c.parts)
			must(t, err)
			for _, f := range found {
				want, lacks := c.lacks[f.Name]
				if f.OK == lacks || !strings.Contains(f.Detail, want+c.says[f.Name]) {
					t.Errorf("probe: %s: good %v: %s, want %q", f.Name, f.OK, f.Detail, want+c.says[f.Name])
				}
			}
			if refused := backend.Refuse(found); (refused != nil) != (c.refuse != "") {
				t.Errorf("the probe refuses it: %v, want %q", refused, c.refuse)
			}
			if err = local.ProbeAll(t.Context(), opts); c.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("serve says %v, want %q", err, c.refuse)
				}
				return
			}
			must(t, err)
			storeThroughHarm(t, opts, proxy)
		})
	}
}

func promiseSingle(o *s3backend.Options) { o.SingleWriter = true }
func setClass(o *s3backend.Options)      { o.StorageClass = "COLD" }

// storeThroughHarm stores files while bytes of requests are changed on their way,
// and reads those that were acknowledged.
func storeThroughHarm(t *testing.T, opts *local.Options, proxy *s3test.Proxy) {
	t.Helper()
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	if opts.Backends["far"].Driver.(s3backend.Driver).ReadBack != "never" {
		proxy.Harm(s3test.Sometimes(7, 0.3, s3test.WrongRequest, s3test.ShortRequest, s3test.LongRequest))
	}
	acked := make(map[string][]byte)
	for i := range 6 {
		p := noise(uint64(i), 100_000+i%3*300_000) // whole, and in parts
		f, err := bucket(t, store, "b").Put(t.Context(), fmt.Sprint(i), bytes.NewReader(p), nil)
		if err == nil {
			acked[f.ID] = p
		} else if !errors.Is(err, buckets.ErrUnavailable) {
			t.Errorf("put: %v", err)
		}
	}
	proxy.Harm(nil)
	if len(acked) == 0 {
		t.Error("nothing was acknowledged")
	}
	for id, p := range acked {
		if got, err := content(bucket(t, store, "b"), id); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes, want %d: %v", id, len(got), len(p), err)
		}
	}
	must(t, store.Close())
	check := local.CheckOptions{Options: *opts} // reads every byte from the service
	r, err := local.Check(t.Context(), dir, &check)
	must(t, err)
	if !r.OK || r.Files < int64(len(acked)) {
		t.Errorf("check: %d files, %d were acknowledged: %+v, damaged %+v", r.Files, len(acked), r.Problems, r.Damaged)
	}
}
