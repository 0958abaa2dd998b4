package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/mediatype"
)

// A Transformer makes images of stored ones, for …/preview. Cairn itself has none:
// a program that embeds it brings one.
//
// Transform returns the content of an image made of src as t says, and its type,
// such as image/png. src is at its beginning, and ends with the call. Content that it
// can make no image of is ErrNotTransformable, which the sender sees; all other errors
// are answered as those of reading src, or as a fault of the server. It may run
// concurrently, and bounds by itself what it takes of memory and time: images of a few
// bytes may have billions of pixels. It is asked for each answer, as Cairn keeps
// none.
type Transformer interface {
	Transform(ctx context.Context, src *buckets.Object, t *Transform) (content []byte, mediaType string, err error)
}

// ErrNotTransformable reports content of which a Transformer makes no image.
var ErrNotTransformable = errors.New("no image can be made of this content")

// A Transform says what is to be made of an image. All of it has been checked. Zero
// values leave things as they are, but for Opacity, which is 1 then.
type Transform struct {
	Width, Height int     // pixels, 0 to follow from the other, up to MaxPixels
	Gravity       string  // what is kept where the sides' relation changes: "center", "top", "bottom-right", …
	Quality       int     // 1 to 100, 0 for the Transformer's default
	BorderWidth   int     // pixels, up to 100
	BorderColor   string  // RRGGBB or RRGGBBAA, in small hexadecimal digits
	BorderRadius  int     // pixels, up to MaxPixels
	Opacity       float64 // 0 to 1
	Rotation      int     // degrees, -360 to 360, clockwise
	Background    string  // a colour as BorderColor
	Format        string  // "jpeg", "png", "gif", "webp" or "avif", "" as it is
}

// MaxPixels is the most that a side of a Transform has.
const MaxPixels = 4000

// readTransform reads the parameters of a preview.
func readTransform(q *query) *Transform {
	t := &Transform{
		Width: int(q.readNumber("width", 0, 1, MaxPixels)), Height: int(q.readNumber("height", 0, 1, MaxPixels)),
		Gravity:     q.readChoice("gravity", "center", "top-left", "top", "top-right", "left", "right", "bottom-left", "bottom", "bottom-right"),
		Quality:     int(q.readNumber("quality", 0, 1, 100)),
		BorderWidth: int(q.readNumber("border_width", 0, 0, 100)), BorderColor: q.readColor("border_color"),
		BorderRadius: int(q.readNumber("border_radius", 0, 0, MaxPixels)),
		Opacity:      q.readFraction("opacity", 1),
		Rotation:     q.readDegrees("rotation"),
		Background:   q.readColor("background"),
		Format:       q.readChoice("format", "jpeg", "jpg", "png", "gif", "webp", "avif"),
	}
	if t.Format == "jpg" {
		t.Format = "jpeg"
	}
	return t
}

var goodColor = regexp.MustCompile(`^#?([0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})$`)

func (q *query) readColor(name string) string {
	text := q.readText(name)
	if q.values.Has(name) && !goodColor.MatchString(text) {
		q.refuse(name, "use a colour as RRGGBB or RRGGBBAA in hexadecimal digits")
	}
	return strings.ToLower(strings.TrimPrefix(text, "#"))
}

var goodFraction = regexp.MustCompile(`^(0|1|[01]?\.[0-9]{1,6})$`)

// readFraction reads a number from 0 to 1, fallback without the parameter.
func (q *query) readFraction(name string, fallback float64) float64 {
	text := q.readText(name)
	if !q.values.Has(name) {
		return fallback
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f > 1 || !goodFraction.MatchString(text) {
		q.refuse(name, "use a number from 0 to 1, such as 0.5")
	}
	return f
}

func (q *query) readDegrees(name string) int {
	text := q.readText(name)
	if !q.values.Has(name) {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < -360 || n > 360 || strings.HasPrefix(text, "+") {
		q.refuse(name, "use a whole number of degrees from -360 to 360")
	}
	return n
}

// previewFile answers with an image that the Transformer makes of a file, or of one
// version, for those who may download it. Parameters are checked before anything is
// looked up, so that what they are answered shows nothing of what exists.
func (s *Server) previewFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	opts, _, err := getOptions(r)
	if err != nil {
		return err
	}
	q := queryOf(r)
	t, name := readTransform(q), q.readText("filename")
	if q.err != nil {
		return q.err
	}
	if b, err = viaRecord(r, b); err != nil {
		return err
	}
	o, err := b.Open(r.Context(), mux.Vars(r)["id"], opts)
	if err != nil {
		return err
	}
	defer o.Close()
	if s.opts.Transformer == nil {
		return errPreview
	}
	content, mediaType, err := s.opts.Transformer.Transform(r.Context(), o, t)
	if err != nil {
		return fmt.Errorf("preview: %w", err)
	}
	if mediaType, _, err = mime.ParseMediaType(mediaType); err != nil {
		mediaType = "" // it may be anything
	}
	setPreviewHeaders(w.Header(), r, b, o, name, t, mediatype.Canonical(mediaType))
	sum := sha256.Sum256(content)
	w.Header().Set("ETag", `"sha256-`+hex.EncodeToString(sum[:])+`"`)
	d := &delivery{ResponseWriter: w, src: contentSource{src: nopCloser{bytes.NewReader(content)}}}
	http.ServeContent(d, simplifyHeaders(r, int64(len(content))), "", time.Time{}, &d.src)
	return d.endAnswer(int64(len(content)))
}

// setPreviewHeaders sets what is said of an image made of o, which is of a type that
// nobody but the Transformer vouches for: it is served as content of that type is.
func setPreviewHeaders(h http.Header, r *http.Request, b *buckets.Bucket, o *buckets.Object, name string, t *Transform, mediaType string) {
	contentType, shown := inlineType(mediaType, b.Policy().InlineTypes)
	disposition := "attachment"
	if shown {
		disposition = "inline"
	}
	if name == "" && t.Format != "" {
		name = o.Name
		if i := strings.LastIndexByte(name, '.'); i > 0 {
			name = name[:i]
		}
		name += "." + t.Format
	}
	h.Set("Content-Type", contentType)
	setContentHeaders(h, r, &o.File, name, disposition)
	h.Del("Repr-Digest")
	// The version stays the same for ever, what the Transformer makes of it may not.
	setCaching(h, r, b, o, false)
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
