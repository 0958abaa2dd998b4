package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/rufh"
	"github.com/cairn-store/cairn/api/tus"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

// resumableRoutes are the routes of the protocols for resumable uploads.
func (s *Server) resumableRoutes() (out []route) {
	alyx := s.servesAlyx()
	out = append(out, s.tusRoutes(tusRoute, tus.Reading{Latin1: alyx})...)
	// Where Alyx's SDK looks.
	out = append(out, s.tusRoutes(bucketTusRoute, tus.Reading{Latin1: alyx, Plain: alyx})...)
	h := s.newRUFH()
	head := s.ofUpload("rufh", h.Head)
	return append(out, route{uploadRoute, methods{"HEAD": head, "GET": head, "PATCH": takeContent(true, s.ofUpload("rufh", h.Patch)), "DELETE": s.ofUpload("rufh", h.Delete),
		"POST": takeContent(false, s.ofUpload("rufh", h.Post)), "OPTIONS": s.overProtocol("rufh", s.ofUploads(h.Options))}})
}

// tusRoutes are the routes of the tus protocol below a path.
func (s *Server) tusRoutes(base string, read tus.Reading) []route {
	t := &tus.Handler{URL: uploadURL("tus"), FileURL: fileURL, Read: read}
	options, create := s.overProtocol("tus", s.ofUploads(t.Options)), takeContent(false, s.overProtocol("tus", s.ofUploads(t.Create)))
	all := methods{"OPTIONS": options, "POST": create}
	one := methods{"HEAD": s.ofUpload("tus", t.Head), "PATCH": takeContent(true, s.ofUpload("tus", t.Patch)), "DELETE": s.ofUpload("tus", t.Delete), "POST": takeContent(false, s.ofUpload("tus", t.Post)),
		"OPTIONS": options}
	return []route{{base, all}, {base + "/", all}, {base + "/{upload}", one}}
}

// overProtocol is inBucket for a protocol. Rules see it as that of the
// request.
func (s *Server) overProtocol(protocol string, h bucketHandler) handler {
	return s.inBucket(func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
		who := *principalOf(r)
		if who.Grant == nil { // else it is as it was when the URL was signed
			who.Request.Protocol = protocol
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{&bodyReader{r.Body}, r.Body}
		return h(w, r, b.As(&who))
	})
}

// uploadURL returns what makes the URLs of uploads by a protocol. One that was
// begun by a signed URL goes on with its token.
func uploadURL(protocol string) func(r *http.Request, up *upload.Upload) string {
	return func(r *http.Request, up *upload.Upload) string {
		out := mountOf(r).urlTo(protocol, up.Bucket, up.ID)
		if token := r.URL.Query().Get("token"); token != "" {
			out += "?token=" + url.QueryEscape(token)
		}
		return out
	}
}

func fileURL(r *http.Request, f *buckets.File) string { return mountOf(r).pathToFile(f) }

func (s *Server) newRUFH() *rufh.Handler {
	answer := func(w http.ResponseWriter, r *http.Request, status int, f *buckets.File) error {
		return writeUploaded(w, r, status, f, nil)
	}
	return &rufh.Handler{URL: uploadURL("uploads"), FileURL: fileURL, Answer: answer, Final: func(err error) bool { return problemOf(err).Status < 500 }}
}

// orRUFH answers a request that makes a file with plain, unless it asks for a
// resumable upload.
func (s *Server) orRUFH(plain bucketHandler) handler {
	h, simple := s.newRUFH(), s.inBucket(plain)
	resumable := s.overProtocol("rufh", func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
		c, err := resumableCreation(w, r, b)
		if err != nil {
			return err
		}
		return h.Create(w, r, s.uploads.In(b), c)
	})
	return func(w http.ResponseWriter, r *http.Request) error {
		if rufh.Wanted(r) {
			return resumable(w, r)
		}
		return simple(w, r)
	}
}

// resumableCreation reads the options of a new file from the query,
// Content-Disposition and Upload-Metadata.
func resumableCreation(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) (*rufh.Creation, error) {
	opts, name, err := tus.ParseMetadata(r.Header.Get("Upload-Metadata"), tus.Reading{})
	if err != nil {
		return nil, err
	}
	if _, params, err := mime.ParseMediaType(r.Header.Get("Content-Disposition")); err == nil && params["filename"] != "" {
		name = params["filename"]
	}
	u := &uploadRequest{name: name, opts: opts.PutOptions}
	u.opts.Once = parseOnce(r)
	if err := u.readQuery(r); err != nil {
		return nil, err
	}
	switch t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case isForm(r):
		return nil, fmt.Errorf("a form is no resumable upload: send the bytes of the file, and its name as ?name=: %w", errMediaType)
	// These types do not describe the file.
	case err != nil, t == "application/partial-upload", t == "application/x-www-form-urlencoded":
	default:
		u.opts.MIMEType = t
	}
	c := &rufh.Creation{Name: u.name, Options: *opts}
	c.PutOptions = u.opts
	return c, readConditions(w, r, b, c)
}

// readConditions reads the target and the conditions of a creation.
func readConditions(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, c *rufh.Creation) (err error) {
	c.Replace = mux.Vars(r)["id"] // fileId in Upload-Metadata is for tus only
	if c.Replace == "" {
		if r.Header.Get("If-None-Match") == "*" {
			c.OnConflict = buckets.ConflictFail
		}
		c.IfMatch, err = ifMatchName(r, b, c.Folder, c.Name)
		return err
	}
	if err := onlyFile(w, r); err != nil {
		return err
	}
	c.IfMatch, err = ifMatch(r, b, c.Replace)
	return err
}

// An uploadsHandler answers a request about the uploads of a bucket.
type uploadsHandler func(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error

func (s *Server) ofUploads(h uploadsHandler) bucketHandler {
	return func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error { return h(w, r, s.uploads.In(b)) }
}

func (s *Server) ofUpload(protocol string, h func(w http.ResponseWriter, r *http.Request, b *upload.Bucket, id string) error) handler {
	return s.overProtocol(protocol, s.ofUploads(func(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
		return h(w, r, b, mux.Vars(r)["upload"])
	}))
}
