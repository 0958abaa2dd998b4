package buckets_test

import (
	"archive/zip"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

// slides returns a presentation whose kind is told behind n bytes that do not
// compress.
func slides(t *testing.T, n int) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range []struct {
		name string
		n    int
	}{{"[Content_Types].xml", n}, {"ppt/presentation.xml", 100}} {
		to, err := w.Create(e.name)
		must(t, err)
		_, err = to.Write(noise(5, e.n))
		must(t, err)
	}
	must(t, w.Close())
	return out.String()
}

// However content comes, its type is the one that its whole has.
func TestTypeByEveryWay(t *testing.T) {
	race.LeaveOut(t)
	const pptx = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
	long := `{"a": "` + strings.Repeat("é", 40_000) + `"}`
	for _, c := range []struct{ name, content, want string }{
		{"a.pptx", slides(t, 4_600), pptx},
		{"a.pptx", slides(t, 300_000), pptx},
		{"a.json", long, "application/json"},
		{"a.json", long[:len(long)-1] + "]", "text/plain"},
		{"a.css", strings.Repeat("a {}\n", 10_000), "text/css"},
	} {
		b, free := limited(t, buckets.Limits{Types: []string{c.want}})
		for way := range 3 {
			f, err := putBy(t, b, way, c.name, c.content)
			if err != nil || f.MIMEType != c.want {
				t.Errorf("%s of %d bytes, way %d: %+v, %v, want %s", c.name, len(c.content), way, f, err, c.want)
			}
		}
		joined, err := free.Compose(t.Context(), c.name, []buckets.Piece{{Data: []byte(c.content)}}, nil)
		must(t, err)
		if joined.MIMEType != c.want {
			t.Errorf("composed: %s, want %s", joined.MIMEType, c.want)
		}
	}
}

// putBy stores content at once, in pieces, or by chunk list.
func putBy(t *testing.T, b *buckets.Bucket, way int, name, content string) (*buckets.File, error) {
	t.Helper()
	ctx := t.Context()
	if way == 0 {
		return b.Put(ctx, name, strings.NewReader(content), nil)
	}
	up, err := uploads(b).Begin(ctx, name, &upload.Options{Listed: way == 2})
	must(t, err)
	if way == 2 {
		chunks := cut(t, up.Listed.Chunker, []byte(content))
		_, _, err = uploads(b).AppendList(ctx, up.ID, 0, listing(chunks))
		must(t, err)
		_, err = uploads(b).ReceiveChunks(ctx, up.ID, sending(chunks))
		must(t, err)
	} else {
		for at := 0; at < len(content); at += 30_000 {
			_, err = uploads(b).Append(ctx, up.ID, int64(at), strings.NewReader(content[at:min(at+30_000, len(content))]), nil)
			must(t, err)
		}
	}
	return commitUpload(uploads(b), ctx, up.ID)
}

// What a bucket does not take is refused as soon as it is told, and not after
// the whole has come.
func TestTypeRefusedEarly(t *testing.T) {
	for name, c := range map[string]struct {
		begin, taken string
		most, pieces int64 // bytes that are read at once, and in pieces
	}{
		"a picture":               {png, "video/*", 64 << 10, 64 << 10},
		"text":                    {"text", "image/*", mediatype.HeadBytes + 64<<10, 64 << 10},
		"a zip":                   {"PK\x03\x04", "image/*", mediatype.HeadBytes + 64<<10, 64 << 10},
		"a zip, no document":      {"PK\x03\x04", "application/msword", mediatype.HeadBytes + 64<<10, 64 << 10},
		"a zip that may be a jar": {"PK\x03\x04", "application/java-archive", mediatype.HeadBytes + 64<<10, mediatype.HeadBytes + 512<<10},
		"what may be a picture":   {"<!-- ", "image/*", mediatype.HeadBytes + 64<<10, mediatype.HeadBytes + 512<<10},
	} {
		b, _ := limited(t, buckets.Limits{Types: []string{c.taken}})
		e := &endless{}
		_, err := b.Put(t.Context(), "f", io.MultiReader(strings.NewReader(c.begin), &letters{e}), nil)
		wantErr(t, name+" at once", err, buckets.ErrType)
		if e.n > c.most {
			t.Errorf("%s: %d bytes were read, at most %d tell", name, e.n, c.most)
		}
		up, err := uploads(b).Begin(t.Context(), "f", &upload.Options{})
		must(t, err)
		e = &endless{}
		_, err = uploads(b).Append(t.Context(), up.ID, 0, io.MultiReader(strings.NewReader(c.begin), &letters{e}), nil)
		wantErr(t, name+" in pieces", err, buckets.ErrType)
		if e.n > c.pieces {
			t.Errorf("%s in pieces: %d bytes were read, at most %d tell", name, e.n, c.pieces)
		}
	}
}

// letters makes text of what a reader gives.
type letters struct{ r io.Reader }

func (l *letters) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i := range p[:n] {
		p[i] = 'a'
	}
	return n, err
}
