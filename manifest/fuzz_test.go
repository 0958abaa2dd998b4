package manifest_test

import (
	"bytes"
	"encoding"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// refused reports whether err is one of those that a decoder refuses with.
func refused(err error) bool {
	return errors.Is(err, manifest.ErrFormat) != errors.Is(err, manifest.ErrUnknown)
}

// checkRow fails unless row refuses p, or takes it and encodes to it again:
// nothing has two encodings.
func checkRow(t *testing.T, p []byte, row interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}) {
	t.Helper()
	err := row.UnmarshalBinary(p)
	if err != nil {
		if !refused(err) {
			t.Errorf("%x: %v", p, err)
		}
		return
	}
	if again, err := row.AppendBinary(nil); err != nil || !bytes.Equal(again, p) {
		t.Errorf("%x decodes to %+v, which encodes to %x, %v", p, row, again, err)
	}
}

func checkFile(t *testing.T, p []byte) {
	t.Helper()
	checkRow(t, p, new(manifest.File))
}

func FuzzFile(f *testing.F) {
	files, _ := fixedRows(f)
	for _, row := range files {
		p, err := row.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Add(fileRow(field(tagAccess, 1, 'a', 0, 0, 0)))
	f.Fuzz(checkFile)
}

func FuzzManifest(f *testing.F) {
	_, manifests := fixedRows(f)
	for _, row := range manifests {
		p, err := row.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Add(manifestRow(field(tagDigests, 0, 0, 1, 'a', 0)))
	f.Fuzz(func(t *testing.T, p []byte) { checkRow(t, p, new(manifest.Manifest)) })
}

func FuzzSlot(f *testing.F) {
	for _, s := range fixedSlots(f) {
		p, err := manifest.EncodeSlot(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Add(envelope('R', 1, []byte{1, 1, 1, 1, 5, 33}, make([]byte, 32), []byte{1}))
	f.Fuzz(func(t *testing.T, p []byte) {
		s, err := manifest.DecodeSlot(p)
		if err != nil {
			if !refused(err) {
				t.Errorf("%x: %v", p, err)
			}
			return
		}
		if again, err := manifest.EncodeSlot(s); err != nil || !bytes.Equal(again, p) {
			t.Errorf("%x decodes to %+v, which encodes to %x, %v", p, s, again, err)
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(manifest.EncodeLeaf(fixedRefs(1)))
	f.Add(manifest.EncodeLeaf(fixedRefs(20)))
	f.Add([]byte{'S', 1, 0})
	f.Add([]byte{'S', 2, 0})
	n := &naive{}
	n.build(fixedRefs(20_000))
	for _, p := range n.nodes {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		again, err := manifest.CheckNode(p)
		if err != nil {
			if !refused(err) {
				t.Errorf("%x: %v", p, err)
			}
			return
		}
		if !bytes.Equal(again, p) {
			t.Errorf("%x decodes to what encodes to %x", p, again)
		}
	})
}

// Whatever a tree is made of, walking it ends with an error or its list.
func FuzzTree(f *testing.F) {
	n := &naive{}
	n.build(fixedRefs(600))
	top := n.nodes[n.top]
	f.Add(top, byte(n.height), uint64(600), uint64(1<<30))
	f.Add([]byte{'S', 1, 1, 0}, byte(10), uint64(1<<62), uint64(1<<62))
	f.Fuzz(func(t *testing.T, p []byte, height byte, chunks, size uint64) {
		s := &segments{m: map[cas.Digest][]byte{cas.SumSegment(p): p}}
		for d, p := range n.nodes {
			s.m[d] = p
		}
		c := &manifest.Content{Top: cas.SumSegment(p), Height: int(height % 11), Chunks: int64(chunks >> 1), Size: int64(size >> 1)}
		calls := 0
		stop := errors.New("stop")
		err := c.Refs(t.Context(), s, func(cas.Ref) error {
			if calls++; calls > 10_000 {
				return stop
			}
			return nil
		})
		if err == nil && int64(calls) != c.Chunks {
			t.Errorf("%d chunks of %d", calls, c.Chunks)
		}
		if err != nil && err != stop && !errors.Is(err, manifest.ErrFormat) && !errors.Is(err, manifest.ErrUnknown) && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

func FuzzID(f *testing.F) {
	for _, s := range []string{string(fixedFile), string(fixedVersion), string(manifest.NewFileID()),
		string(manifest.NewVersionID()), "", "f_", "x_" + string(fixedFile[2:]), string(fixedFile[:37]) + "1",
		string(fixedUUID), string(fixedUUID[:35]), string(fixedUUID) + "0", "0123ABCD-4567-4ef0-89ab-cdef00112233",
		string(fixedFile[:37]) + "\n", string(fixedFile[:36]) + "\n\n", string(fixedFile) + "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, file := manifest.ParseFileID(s)
		_, version := manifest.ParseVersionID(s)
		uuid := file && len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
		if (file || version) && len(s) != 38 && !uuid || file && !uuid && s[:2] != "f_" || version && s[:2] != "m_" {
			t.Errorf("%q is taken for an ID", s)
		}
		last := byte('v')
		if s = s[min(2, len(s)):]; uuid {
			s, last = strings.ReplaceAll(s, "-", ""), 'f'
		}
		for _, c := range []byte(s) {
			if (file || version) && (c < '0' || c > '9') && (c < 'a' || c > last) {
				t.Errorf("%q is taken for an ID", s)
			}
		}
	})
}
