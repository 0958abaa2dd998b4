package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets"
)

// A transformer notes what it was asked for, and returns what it is set to.
type transformer struct {
	asked     []api.Transform
	source    []byte
	content   string
	mediaType string
	err       error
}

func (f *transformer) Transform(_ context.Context, src *buckets.Object, t *api.Transform) ([]byte, string, error) {
	f.asked = append(f.asked, *t)
	if f.err != nil {
		return nil, "", f.err
	}
	var err error
	if f.source, err = io.ReadAll(src); err != nil {
		return nil, "", err
	}
	return []byte(f.content), f.mediaType, nil
}

const previewSchema = `
buckets:
  own:  {rules: {create: auth.id != null, read: auth.id == file.owner, update: auth.id == file.owner, delete: auth.id == file.owner}}
  look: {rules: {create: auth.id != null, read: "true", download: auth.id == file.owner}}
  open: {rules: {create: auth.id != null, read: "true"}}
  svg:  {inline_types: [image/svg+xml], rules: {create: auth.id != null, read: "true"}}
`

// Each parameter is checked, whether there is the file or not, and a Transformer or
// not.
func TestPreviewParameters(t *testing.T) {
	w := secured(t, previewSchema)
	f := w.putAs("ann", "own", "file", "x")
	ann := token(t, "ann", nil)
	made := &transformer{content: "png", mediaType: "image/png"}
	with := w.serveAs(w.opts.Auth, func(o *api.Options) { o.Transformer = made })
	plain := api.Transform{Opacity: 1}
	for _, c := range []struct {
		query string
		want  *api.Transform // nil where it is refused
		says  string
	}{
		{"", &plain, ""},
		{"_=1&unknown=x", &plain, ""},
		{"width=1&height=4000", &api.Transform{Width: 1, Height: 4000, Opacity: 1}, ""},
		{"gravity=bottom-right&quality=100", &api.Transform{Gravity: "bottom-right", Quality: 100, Opacity: 1}, ""},
		{"border_width=100&border_color=%23FF00aa&border_radius=4000", &api.Transform{BorderWidth: 100, BorderColor: "ff00aa", BorderRadius: 4000, Opacity: 1}, ""},
		{"border_width=0&border_radius=0", &plain, ""},
		{"opacity=0", &api.Transform{}, ""},
		{"opacity=.25", &api.Transform{Opacity: 0.25}, ""},
		{"opacity=1", &plain, ""},
		{"rotation=-360&background=00000000", &api.Transform{Rotation: -360, Background: "00000000", Opacity: 1}, ""},
		{"rotation=90&format=jpg", &api.Transform{Rotation: 90, Format: "jpeg", Opacity: 1}, ""},
		{"format=avif", &api.Transform{Format: "avif", Opacity: 1}, ""},
		{"width=0", nil, `width "0": use a number from 1 to 4000`},
		{"width=4001", nil, `width "4001": use a number from 1 to 4000`},
		{"width=-1", nil, `width "-1"`},
		{"width=1e3", nil, `width "1e3"`},
		{"width=", nil, `width ""`},
		{"width=1&width=2", nil, "send it once"},
		{"height=99999999999999999999", nil, `height "99999999999999999999": use a number from 1 to 4000`},
		{"gravity=middle", nil, `gravity "middle": use center, top-left, top,`},
		{"gravity=Center", nil, `gravity "Center"`},
		{"quality=0", nil, `quality "0": use a number from 1 to 100`},
		{"quality=101", nil, `quality "101"`},
		{"border_width=101", nil, `border_width "101": use a number from 0 to 100`},
		{"border_color=red", nil, `border_color "red": use a colour as RRGGBB`},
		{"border_color=fff", nil, `border_color "fff"`},
		{"border_color=", nil, `border_color ""`},
		{"border_radius=4001", nil, `border_radius "4001"`},
		{"opacity=1.1", nil, `opacity "1.1": use a number from 0 to 1`},
		{"opacity=-0.1", nil, `opacity "-0.1"`},
		{"opacity=NaN", nil, `opacity "NaN"`},
		{"opacity=1e-1", nil, `opacity "1e-1"`},
		{"opacity=0x1p-2", nil, `opacity "0x1p-2"`},
		{"opacity=", nil, `opacity ""`},
		{"rotation=361", nil, `rotation "361": use a whole number of degrees from -360 to 360`},
		{"rotation=1.5", nil, `rotation "1.5"`},
		{"rotation=%2B1", nil, `rotation "+1"`},
		{"rotation=", nil, `rotation ""`},
		{"background=12345", nil, `background "12345": use a colour`},
		{"format=svg", nil, `format "svg": use jpeg, jpg, png, gif, webp or avif`},
		{"format=", nil, `format ""`},
		{"version=0", nil, `version "0"`},
		{"version=1", &plain, ""},
		{"trashed=yes", nil, `trashed "yes"`},
	} {
		path := "/api/files/own/" + f.ID + "/preview?" + c.query
		gone := "/api/files/own/" + missing("f_") + "/preview?" + c.query
		if c.want == nil {
			for _, at := range []*world{w, with} {
				for _, ref := range []string{path, gone} {
					if a := at.want(400, "invalid-request", "GET", ref, nil, "Authorization", ann); !strings.Contains(problemDetail(a), c.says) {
						t.Errorf("%s: %s, want %s", c.query, problemDetail(a), c.says)
					}
				}
			}
			continue
		}
		w.want(501, "transform-not-available", "GET", path, nil, "Authorization", ann)
		w.want(404, "file-not-found", "GET", gone, nil, "Authorization", ann)
		made.asked = nil
		with.want(200, "", "GET", path, nil, "Authorization", ann)
		if len(made.asked) != 1 || made.asked[0] != *c.want {
			t.Errorf("%s: asked for %+v, want %+v", c.query, made.asked, *c.want)
		}
	}
}

func problemDetail(a *answer) string {
	_, rest, _ := strings.Cut(string(a.body), `"detail":"`)
	detail, _, _ := strings.Cut(rest, `","instance"`)
	return strings.ReplaceAll(detail, `\"`, `"`)
}

// Who may not download a file learns nothing by its preview.
func TestPreviewRules(t *testing.T) {
	w := secured(t, previewSchema)
	made := &transformer{content: "png", mediaType: "image/png"}
	with := w.serveAs(w.opts.Auth, func(o *api.Options) { o.Transformer = made })
	ann, bob := token(t, "ann", nil), token(t, "bob", nil)
	for _, bucket := range []string{"own", "look"} {
		f := w.putAs("ann", bucket, "file", "content")
		for name, at := range map[string]*world{"without": w, "with": with} {
			at := *at
			for _, ref := range []string{f.ID, f.ManifestID, missing("f_")} {
				for who, bearer := range map[string]string{"ann": ann, "bob": bob, "nobody": ""} {
					header := []string{"Authorization", bearer}
					if bearer == "" {
						header = nil
					}
					down := at.do("GET", "/api/files/"+bucket+"/"+ref+"/download", nil, header...)
					asked := len(made.asked)
					got := at.do("GET", "/api/files/"+bucket+"/"+ref+"/preview?width=1", nil, header...)
					switch {
					case down.StatusCode == 200 && got.StatusCode == map[string]int{"without": 501, "with": 200}[name]:
					case down.StatusCode == 200 || got.StatusCode != down.StatusCode || plainOf(got) != plainOf(down):
						t.Errorf("%s %s of %s, %s: download %d, preview %d: %s", name, ref, bucket, who, down.StatusCode, got.StatusCode, got.body)
					case len(made.asked) != asked:
						t.Errorf("%s: the Transformer was asked for %s", who, ref)
					}
				}
			}
		}
	}
	f := w.putAs("ann", "own", "trashed", "content")
	w.want(200, "", "DELETE", "/api/files/own/"+f.ID, nil, "Authorization", ann)
	with.want(404, "file-not-found", "GET", "/api/files/own/"+f.ID+"/preview", nil, "Authorization", ann)
	with.want(200, "", "GET", "/api/files/own/"+f.ID+"/preview?trashed=true", nil, "Authorization", ann)
	signed := w.sign(ann, "own", w.putAs("ann", "own", "signed", "content").ID, `{"operation": "download"}`)
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	with.want(403, "signed-url-scope", "GET", strings.Replace(u.RequestURI(), "/download", "/preview", 1), nil)
}

func plainOf(a *answer) string { return plain(a) }

// What a Transformer makes is served as stored content of its type is.
func TestPreviewAnswer(t *testing.T) {
	w := secured(t, previewSchema)
	for name, c := range map[string]struct {
		bucket, mediaType   string
		served, disposition string
	}{
		"an image":                   {"open", "image/png", "image/png", "inline"},
		"one in other letters":       {"open", "IMAGE/PNG", "image/png", "inline"},
		"a page":                     {"open", "text/html; charset=utf-8", "text/html", "attachment"},
		"a drawing that runs":        {"open", "image/svg+xml", "image/svg+xml", "attachment"},
		"one that an operator lists": {"svg", "image/svg+xml", "image/svg+xml", "inline"},
		"a script":                   {"open", "text/javascript", "text/plain; charset=utf-8", "inline"},
		"something":                  {"open", "application/x-thing", "application/x-thing", "attachment"},
		"no type":                    {"open", "", "application/octet-stream", "attachment"},
		"a broken type":              {"open", "image/png\r\nX-Evil: 1", "application/octet-stream", "attachment"},
	} {
		t.Run(name, func(t *testing.T) {
			made := &transformer{content: "0123456789", mediaType: c.mediaType}
			with := w.serveAs(w.opts.Auth, func(o *api.Options) { o.Transformer = made })
			f := w.putAs("ann", c.bucket, "photo.png", "content")
			path := "/api/files/" + c.bucket + "/" + f.ID + "/preview?format=webp"
			a := with.want(200, "", "GET", path, nil)
			h := a.Header
			if string(a.body) != made.content || string(made.source) != "content" || h.Get("Content-Type") != c.served || h.Get("Content-Disposition") != c.disposition+`; filename="`+strings.TrimSuffix(f.Name, "png")+`webp"` ||
				!strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Evil") != "" ||
				h.Get("Repr-Digest") != "" || h.Get("Cache-Control") != "public, no-cache" {
				t.Errorf("%s %v", a.body, h)
			}
			with.want(304, "", "GET", path, nil, "If-None-Match", h.Get("ETag"))
			if part := with.want(206, "", "GET", path, nil, "Range", "bytes=2-4"); string(part.body) != "234" {
				t.Errorf("%s", part.body)
			}
			if head := with.want(200, "", "HEAD", path, nil); head.Header.Get("Content-Length") != "10" || head.Header.Get("ETag") != h.Get("ETag") {
				t.Errorf("HEAD: %v", head.Header)
			}
			made.content = "another"
			with.want(200, "", "GET", path, nil, "If-None-Match", h.Get("ETag"))
			if a := with.want(200, "", "GET", "/api/files/"+c.bucket+"/"+f.ManifestID+"/preview?filename=x.y", nil); a.Header.Get("Cache-Control") != "public, no-cache" ||
				!strings.HasSuffix(a.Header.Get("Content-Disposition"), `filename="x.y"`) {
				t.Errorf("of a version: %v", a.Header)
			}
		})
	}
}

func TestPreviewErrors(t *testing.T) {
	w := secured(t, previewSchema)
	f := w.putAs("ann", "open", "file", "content")
	for _, c := range []struct {
		err    error
		status int
		code   string
		says   string
	}{
		{api.ErrNotTransformable, 422, "not-transformable", "no image can be made"},
		{fmt.Errorf("it has 4 billion pixels: %w", api.ErrNotTransformable), 422, "not-transformable", "4 billion pixels"},
		{errors.New("secret"), 500, "internal", ""},
		{context.DeadlineExceeded, 500, "internal", ""},
	} {
		with := w.serveAs(w.opts.Auth, func(o *api.Options) { o.Transformer = &transformer{err: c.err} })
		a := with.want(c.status, c.code, "GET", "/api/files/open/"+f.ID+"/preview", nil)
		if !strings.Contains(string(a.body), c.says) || strings.Contains(string(a.body), "secret") {
			t.Errorf("%v: %s", c.err, a.body)
		}
	}
}

// Damage that the Transformer meets is answered as that of a download.
func TestPreviewOfDamage(t *testing.T) {
	w := newWorld(t)
	f := w.put("file", noise(100_000))
	with := w.serveAs(nil, func(o *api.Options) { o.Dev, o.Transformer = true, &transformer{content: "x", mediaType: "image/png"} })
	w.flip(func(int64) int64 { return 50_000 })
	with.want(500, "content-damaged", "GET", "/api/files/demo/"+f.ID+"/preview", nil)
}
