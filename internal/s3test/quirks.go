package s3test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// A Quirk is what a service does otherwise than S3.
type Quirk string

// The quirks of a service, each seen in some.
const (
	NoConditions      Quirk = "If-None-Match is passed over"
	RefusesConditions Quirk = "If-None-Match is answered by 501"
	NoSignedSums      Quirk = "a body is compared with its Content-MD5 only"
	StrangeCode       Quirk = "wrong bytes are refused by a code of its own"
	NoSums            Quirk = "a body is compared with nothing"
	NoPartSums        Quirk = "the body of a part is compared with nothing"
	TreeOrder         Quirk = "lists are in another order"
	RepeatedKeys      Quirk = "a list page begins with the last key of the one before"
	EmptyPages        Quirk = "a list has pages without keys"
	EndlessList       Quirk = "a list page names itself as the next"
	CircularList      Quirk = "the last page of a list names the first as the next"
	LostToken         Quirk = "a list page says that there are more, and not where"
	LateLists         Quirk = "an object is listed only after a while"
	EncodedKeys       Quirk = "keys of lists are URL-encoded, unasked"
	ErrorsIn200       Quirk = "every third answer is an error with status 200"
	NoInitiated       Quirk = "multipart uploads are listed without Initiated"
	EndlessUploads    Quirk = "the list of multipart uploads has no last page"
	ExactUploads      Quirk = "multipart uploads are listed for an exact key or no prefix"
	OddETags          Quirk = "an ETag is no MD5"
	NoHeadLength      Quirk = "HEAD tells no Content-Length"
	NoMetadata        Quirk = "user metadata is lost"
	LateReads         Quirk = "an object is not found at its first look-up"
	LosesParts        Quirk = "an object lacks the last of its parts"
	WholeForOneByte   Quirk = "bytes=0-0 is answered by all bytes"
	NoRanges          Quirk = "ranges are passed over"
	Redirects         Quirk = "requests are sent on to another host"
	SkewedClock       Quirk = "the clock is an hour ahead"
	NoStorageClass    Quirk = "a storage class is refused"
	Archives          Quirk = "objects of a storage class must be restored to be read"
	FailsToDelete     Quirk = "DELETE of a missing key is answered by 500"
	NoDelete          Quirk = "DELETE is answered by 204 and does nothing"
)

// Quirky starts a service in this process that has some quirks. It keeps objects
// in memory and takes any credentials.
func Quirky(t testing.TB, quirks ...Quirk) *Server {
	t.Helper()
	return startQuirky(t, []string{bucket}, quirks...)
}

// WithBuckets starts a service in this process that has more buckets beside its own.
func WithBuckets(t testing.TB, names ...string) *Server {
	t.Helper()
	return startQuirky(t, append(names, bucket))
}

func startQuirky(t testing.TB, names []string, quirks ...Quirk) *Server {
	t.Helper()
	store := s3mem.New()
	for _, name := range names {
		if err := store.CreateBucket(name); err != nil {
			t.Fatal(err)
		}
	}
	q := &quirky{next: gofakes3.New(store, gofakes3.WithTimeSkewLimit(0)).Server(), has: make(map[Quirk]bool), fresh: make(map[string]bool)}
	for _, quirk := range quirks {
		q.has[quirk] = true
	}
	srv := httptest.NewServer(q)
	t.Cleanup(srv.Close)
	return &Server{Name: "fake", Endpoint: srv.URL, Bucket: bucket, AccessKey: "test", SecretKey: "testsecret", PathStyle: true}
}

type quirky struct {
	next http.Handler
	has  map[Quirk]bool

	mu    sync.Mutex
	fresh map[string]bool // paths that were PUT since the last list; guarded by mu
	count int             // of answers; guarded by mu
}

func (q *quirky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if status, code := q.refuse(r, body); code != "" {
		if q.has[SkewedClock] {
			w.Header().Set("Date", q.now().Format(http.TimeFormat))
		}
		if q.has[Redirects] {
			w.Header().Set("Location", "http://there.invalid"+r.URL.Path)
		}
		refuseRequest(w, r, status, code)
		return
	}
	q.changeRequest(r)
	rec := httptest.NewRecorder()
	switch {
	case r.Method == http.MethodDelete && q.has[NoDelete]:
		rec.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Has("list-type"):
		q.listObjects(rec, r)
	case r.Method == http.MethodGet && r.URL.Query().Has("uploads"):
		q.listUploads(rec, r)
	default:
		q.next.ServeHTTP(rec, r)
	}
	q.changeAnswer(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	io.Copy(w, rec.Body)
}

func (q *quirky) now() time.Time { return time.Now().UTC().Add(time.Hour) }

// refuse returns what a request is refused with, if it is.
func (q *quirky) refuse(r *http.Request, body []byte) (status int, code string) {
	class := r.Header.Get("X-Amz-Storage-Class")
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	isPart := r.URL.Query().Has("partNumber")
	switch {
	case q.has[Redirects]:
		return http.StatusTemporaryRedirect, "TemporaryRedirect"
	case q.has[SkewedClock] && err == nil && q.now().Sub(signed).Abs() > 15*time.Minute:
		return http.StatusForbidden, "RequestTimeTooSkewed"
	case q.has[NoStorageClass] && class != "":
		return http.StatusBadRequest, "InvalidStorageClass"
	case q.has[Archives] && r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") > 1:
		return http.StatusForbidden, "InvalidObjectState"
	case q.has[RefusesConditions] && r.Header.Get("If-None-Match") != "":
		return http.StatusNotImplemented, "NotImplemented"
	case q.has[FailsToDelete] && r.Method == http.MethodDelete && !r.URL.Query().Has("uploadId") && !q.exists(r):
		return http.StatusInternalServerError, "InternalError"
	case q.has[LateReads] && r.Method == http.MethodGet && !r.URL.Query().Has("list-type") && q.isFresh(r):
		return http.StatusNotFound, "NoSuchKey"
	case q.has[NoSums], q.has[NoSignedSums], q.has[NoPartSums] && isPart:
		return 0, ""
	}
	want, err := hex.DecodeString(r.Header.Get("X-Amz-Content-Sha256"))
	if got := sha256.Sum256(body); err == nil && len(want) == len(got) && !bytes.Equal(got[:], want) {
		if q.has[StrangeCode] {
			return http.StatusBadRequest, "NotWhatYouSaid"
		}
		return http.StatusBadRequest, "XAmzContentSHA256Mismatch"
	}
	return 0, ""
}

// isFresh reports whether the object that r is about was not looked up since it
// was PUT.
func (q *quirky) isFresh(r *http.Request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh := q.fresh[r.URL.Path]
	delete(q.fresh, r.URL.Path)
	return fresh
}

// exists reports whether the object that r is about is there.
func (q *quirky) exists(r *http.Request) bool {
	rec := httptest.NewRecorder()
	q.next.ServeHTTP(rec, httptest.NewRequest(http.MethodHead, r.URL.Path, nil))
	return rec.Code == http.StatusOK
}

func (q *quirky) changeRequest(r *http.Request) {
	isPart := r.URL.Query().Has("partNumber")
	if q.has[NoConditions] {
		r.Header.Del("If-None-Match")
	}
	if q.has[NoSums] || q.has[NoPartSums] && isPart {
		r.Header.Del("Content-MD5")
	}
	if q.has[NoRanges] || q.has[WholeForOneByte] && r.Header.Get("Range") == "bytes=0-0" {
		r.Header.Del("Range")
	}
	if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && q.has[LosesParts] {
		list, _ := io.ReadAll(r.Body)
		if parts := bytes.Count(list, []byte("<Part>")); parts > 1 {
			list = append(list[:bytes.LastIndex(list, []byte("<Part>"))], "</CompleteMultipartUpload>"...)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(list)), int64(len(list))
	}
	if r.Method == http.MethodPut {
		q.mu.Lock()
		q.fresh[r.URL.Path] = true
		q.mu.Unlock()
	}
}

func (q *quirky) changeAnswer(rec *httptest.ResponseRecorder, r *http.Request) {
	h := rec.Header()
	if q.has[SkewedClock] {
		h.Set("Date", q.now().Format(http.TimeFormat))
	}
	if q.has[NoHeadLength] && r.Method == http.MethodHead {
		h.Del("Content-Length")
	}
	if q.has[NoMetadata] {
		h.Del("X-Amz-Meta-Cairn-Writer")
	}
	if tag := h.Get("ETag"); q.has[OddETags] && tag != "" && r.Method != http.MethodPut {
		h.Set("ETag", `"not-an-md5"`)
	}
	if !q.has[ErrorsIn200] || r.Method == http.MethodGet && !r.URL.Query().Has("list-type") || r.Method == http.MethodHead {
		return
	}
	q.mu.Lock()
	q.count++
	fails := q.count%3 == 0
	q.mu.Unlock()
	if fails {
		rec.Code = http.StatusOK
		h.Del("Content-Length")
		rec.Body = bytes.NewBufferString("<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>late</Message></Error>")
	}
}
