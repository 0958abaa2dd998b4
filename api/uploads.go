package api

import (
	"io"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/tus"
	"github.com/cairn-store/cairn/buckets"
)

// resumable are the routes of the protocols for resumable uploads.
func (s *Server) resumable() (out []route) {
	t := &tus.Handler{Base: s.base}
	all := methods{"OPTIONS": s.speaking("tus", t.Options), "POST": s.speaking("tus", t.Create)}
	one := methods{"HEAD": s.ofUpload(t.Head), "PATCH": s.ofUpload(t.Patch), "DELETE": s.ofUpload(t.Delete), "POST": s.ofUpload(t.Post),
		"OPTIONS": s.speaking("tus", t.Options)}
	const bucket = "/{bucket:[^/_][^/]*}"
	for _, base := range []string{"/api/tus" + bucket, "/api/files" + bucket + "/tus"} { // the second is where Alyx's SDK looks
		out = append(out, route{base, all}, route{base + "/", all}, route{base + "/{upload}", one})
	}
	return out
}

// speaking is in for a protocol that rules may ask for.
func (s *Server) speaking(protocol string, h bucketHandler) handler {
	answer := s.in(func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
		who := *principal(r)
		who.Request.Protocol = protocol
		r.Body = struct {
			io.Reader
			io.Closer
		}{&bodyReader{r.Body}, r.Body}
		return h(w, r, b.As(&who))
	})
	return func(w http.ResponseWriter, r *http.Request) error {
		if protocol == "tus" {
			w.Header().Set("Tus-Resumable", tus.Version) // refusals have it too
		}
		return answer(w, r)
	}
}

func (s *Server) ofUpload(h func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, id string) error) handler {
	return s.speaking("tus", func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
		return h(w, r, b, mux.Vars(r)["upload"])
	})
}
