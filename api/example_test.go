package api_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// Sessions are a program's own, by the value of a cookie. Its pages make them when
// somebody signs in; the cookie is HttpOnly, Secure, and SameSite=Lax.
type Sessions struct {
	people map[string]string // names, by session; in a database, mostly
	keys   *access.Keys      // of the store: API keys are taken too
}

// Principal says who sends a request.
func (s *Sessions) Principal(r *http.Request) (*access.Principal, error) {
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.keys.Principal(r.Context(), key)
	}
	cookie, err := r.Cookie("session")
	if err != nil {
		return nil, nil // nobody is signed in
	}
	name, ok := s.people[cookie.Value]
	if !ok {
		return nil, access.RefuseCredentials("your session has ended: sign in again")
	}
	return &access.Principal{ID: name, Operator: name == "root"}, nil
}

// Thumbnails shrinks JPEG images to a width, by leaving pixels out. A real one takes a
// library, other formats, and all of the parameters.
type Thumbnails struct{}

// Transform makes the image.
func (Thumbnails) Transform(_ context.Context, src *buckets.Object, t *api.Transform) ([]byte, string, error) {
	// A few bytes may say that they are billions of pixels.
	head, err := jpeg.DecodeConfig(src)
	if err != nil || head.Width > 8000 || head.Height > 8000 || t.Width == 0 {
		return nil, "", api.ErrNotTransformable
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return nil, "", err
	}
	from, err := jpeg.Decode(src)
	if err != nil {
		return nil, "", err
	}
	to := image.NewRGBA(image.Rect(0, 0, t.Width, max(1, head.Height*t.Width/head.Width)))
	for y := range to.Rect.Dy() {
		for x := range t.Width {
			to.Set(x, y, from.At(x*head.Width/t.Width, y*head.Height/to.Rect.Dy()))
		}
	}
	var out bytes.Buffer
	err = jpeg.Encode(&out, to, &jpeg.Options{Quality: cmp.Or(t.Quality, 80)})
	return out.Bytes(), "image/jpeg", err
}

// A program makes thumbnails of the images that it keeps.
func ExampleTransformer() {
	dir, err := os.MkdirTemp("", "cairn")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := local.Open(context.Background(), dir, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	bucket, err := store.Bucket("demo")
	if err != nil {
		panic(err)
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 640, 480)), nil); err != nil {
		panic(err)
	}
	file, err := bucket.Put(context.Background(), "photo.jpg", &photo, nil)
	if err != nil {
		panic(err)
	}

	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true, Transformer: Thumbnails{}}))
	defer srv.Close()
	for _, query := range []string{"width=64", "width=wide"} {
		resp, err := http.Get(srv.URL + "/api/files/demo/" + file.ID + "/preview?" + query)
		if err != nil {
			panic(err)
		}
		made, _ := jpeg.DecodeConfig(resp.Body)
		fmt.Println(resp.Status, resp.Header.Get("Content-Type"), made.Width, made.Height)
	}
	// Output:
	// 200 OK image/jpeg 64 48
	// 400 Bad Request application/problem+json 0 0
}

// A program serves its users' files below /storage, and says by its own sessions
// who they are.
func ExampleAuthenticator() {
	dir, err := os.MkdirTemp("", "cairn")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	rules, err := schema.Parse("schema.yaml", []byte(`buckets: {own: {rules: {create: auth.id != null, read: auth.id == file.owner}}}`), nil)
	if err != nil {
		panic(err)
	}
	opts, err := local.Configure(nil, rules, nil)
	if err != nil {
		panic(err)
	}
	store, err := local.Open(context.Background(), dir, opts)
	if err != nil {
		panic(err)
	}
	defer store.Close()

	sessions := &Sessions{people: map[string]string{"3f9a": "ann", "77c0": "bob"}, keys: store.Keys()}
	mux := http.NewServeMux()
	mux.Handle("/storage/", http.StripPrefix("/storage", api.New(store, &api.Options{Auth: sessions})))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	send := func(method, path, session, body string) *http.Response {
		r, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		r.AddCookie(&http.Cookie{Name: "session", Value: session})
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			panic(err)
		}
		return resp
	}
	at := send("POST", "/storage/api/files/own?name=diary.txt", "3f9a", "dear diary").Header.Get("Location")
	for _, session := range []string{"3f9a", "77c0", "old"} {
		resp := send("GET", at+"/download", session, "")
		fmt.Println(session, resp.Status)
	}
	// Output:
	// 3f9a 200 OK
	// 77c0 404 Not Found
	// old 401 Unauthorized
}
