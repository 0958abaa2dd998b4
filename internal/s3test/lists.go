package s3test

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listEntry
}

type listEntry struct {
	Key          string
	Size         int64
	LastModified time.Time
	ETag         string
}

// listObjects answers a ListObjectsV2 as the quirks want, of up to 1,000 keys.
// Those about pages have pages of two keys.
func (q *quirky) listObjects(rec *httptest.ResponseRecorder, r *http.Request) {
	inPages := q.has[TreeOrder] || q.has[RepeatedKeys] || q.has[EmptyPages] || q.has[EndlessList] ||
		q.has[CircularList] || q.has[LostToken]
	if !inPages && !q.has[LateLists] && !q.has[EncodedKeys] {
		q.next.ServeHTTP(rec, r)
		return
	}
	query := r.URL.Query()
	start, _ := strconv.Atoi(query.Get("continuation-token"))
	size, err := strconv.Atoi(query.Get("max-keys"))
	if err != nil || size < 1 {
		size = 1000
	}
	query.Del("continuation-token")
	query.Del("max-keys")
	r.URL.RawQuery = query.Encode()
	all := httptest.NewRecorder()
	q.next.ServeHTTP(all, r)
	var out listResult
	if err := xml.Unmarshal(all.Body.Bytes(), &out); err != nil || all.Code != http.StatusOK {
		rec.WriteHeader(all.Code)
		rec.Body = all.Body
		return
	}
	if q.has[LateLists] {
		q.mu.Lock()
		out.Contents = slices.DeleteFunc(out.Contents, func(e listEntry) bool { return q.fresh["/"+out.Name+"/"+e.Key] })
		clear(q.fresh)
		q.mu.Unlock()
	}
	if q.has[TreeOrder] { // as SeaweedFS: "a/b" before "a-b"
		slices.SortFunc(out.Contents, func(a, b listEntry) int {
			return slices.Compare(strings.Split(a.Key, "/"), strings.Split(b.Key, "/"))
		})
	}
	if inPages {
		size = 2
	}
	q.cutPage(&out, start, size)
	rec.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(rec).Encode(&out)
}

// cutPage leaves one page of a list. A token is the index of its first entry;
// negative, that of an empty page before it.
func (q *quirky) cutPage(out *listResult, start, size int) {
	all := out.Contents
	if q.has[EmptyPages] && start >= 0 && start < len(all) {
		out.Contents, out.IsTruncated, out.NextContinuationToken = nil, true, strconv.Itoa(-1-start)
		return
	}
	if start < 0 {
		start = -1 - start
	}
	end := min(start+size, len(all))
	if q.has[RepeatedKeys] && start > 0 {
		start--
	}
	out.Contents = all[min(start, end):end]
	if end < len(all) {
		out.IsTruncated, out.NextContinuationToken = true, strconv.Itoa(end)
	}
	switch {
	case q.has[EndlessList]:
		out.IsTruncated, out.NextContinuationToken = true, strconv.Itoa(end)
	case q.has[CircularList]:
		out.IsTruncated, out.NextContinuationToken = true, strconv.Itoa(end%max(1, len(all)))
	case q.has[LostToken]:
		out.NextContinuationToken = ""
	}
	if q.has[EncodedKeys] {
		out.EncodingType = "url"
		for i := range out.Contents {
			out.Contents[i].Key = url.QueryEscape(out.Contents[i].Key)
		}
	}
}

type uploadsResult struct {
	XMLName       xml.Name `xml:"ListMultipartUploadsResult"`
	IsTruncated   bool
	NextKeyMarker string `xml:",omitempty"`
	Upload        []uploadEntry
}

type uploadEntry struct {
	Key, UploadId string
	Initiated     string `xml:",omitempty"`
}

// listUploads answers a ListMultipartUploads as the quirks want.
func (q *quirky) listUploads(rec *httptest.ResponseRecorder, r *http.Request) {
	query := r.URL.Query()
	prefix := query.Get("prefix")
	sent := r.URL.Query()
	sent.Del("key-marker")
	if q.has[ExactUploads] {
		sent.Del("prefix")
	}
	r.URL.RawQuery = sent.Encode()
	all := httptest.NewRecorder()
	q.next.ServeHTTP(all, r)
	var out uploadsResult
	if err := xml.Unmarshal(all.Body.Bytes(), &out); err != nil || all.Code != http.StatusOK {
		rec.WriteHeader(all.Code)
		rec.Body = all.Body
		return
	}
	if q.has[ExactUploads] && prefix != "" {
		out.Upload = slices.DeleteFunc(out.Upload, func(u uploadEntry) bool { return u.Key != prefix })
	}
	if q.has[NoInitiated] {
		for i := range out.Upload {
			out.Upload[i].Initiated = ""
		}
	}
	if page, _ := strconv.Atoi(query.Get("key-marker")); q.has[EndlessUploads] {
		out.IsTruncated, out.NextKeyMarker = true, strconv.Itoa(page+1)
		if page > 0 {
			out.Upload = nil
		}
	}
	rec.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(rec).Encode(&out)
}
