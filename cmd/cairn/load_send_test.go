package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/cairn-store/cairn/api/client"
)

// A sending is a resumable upload under way.
type sending struct {
	tus  bool
	url  string
	data []byte
}

// send stores a new file by a protocol that it chooses. It returns nil for the
// file where the protocol tells less than that.
func (w *worker) send(ctx context.Context, f *kept, x text) (*client.File, error) {
	p := w.render(x)
	stop := w.clock()
	switch w.r.IntN(5) {
	case 0, 1:
		defer stop()
		return w.c.Upload(ctx, f.bucket, f.path, bytes.NewReader(p), &client.UploadOptions{Size: int64(len(p)), SizeKnown: true})
	case 2:
		defer stop()
		out, err := w.c.Put(ctx, f.bucket, f.path, bytes.NewReader(p), nil)
		if err != nil {
			return nil, err
		}
		return out.File, nil
	}
	u := &sending{tus: w.r.IntN(2) == 0, data: p}
	if err := w.begin(ctx, u, f); err != nil {
		return nil, err
	}
	if w.r.IntN(8) == 0 { // another is left where it is
		left := &sending{tus: u.tus, data: w.render(w.newText())}
		if w.begin(ctx, left, &kept{bucket: f.bucket, path: f.path + "-left"}) == nil {
			w.appendPiece(ctx, left, 0, len(left.data)-1)
			w.pending = append(w.pending, left)
		}
	}
	return nil, w.finish(ctx, u, stop)
}

// begin makes a resumable upload without content.
func (w *worker) begin(ctx context.Context, u *sending, f *kept) error {
	url, header := w.url+"/api/files/"+f.bucket+"?name="+f.path, []string{"Upload-Complete", "?0"}
	if u.tus {
		url = w.url + "/api/tus/" + f.bucket
		header = []string{"Upload-Length", strconv.Itoa(len(u.data)), "Upload-Metadata", "filename " + base64Of(f.path)}
	}
	h, _, err := w.call(ctx, http.MethodPost, url, nil, u.tus, header...)
	u.url = h.Get("Location")
	if err == nil && len(u.url) > 0 && u.url[0] == '/' {
		u.url = w.url + u.url
	}
	return err
}

// finish sends what an upload lacks, in pieces, through kills of the server.
func (w *worker) finish(ctx context.Context, u *sending, stop func()) error {
	for ctx.Err() == nil {
		h, _, err := w.call(ctx, http.MethodHead, u.url, nil, u.tus)
		at, bad := strconv.Atoi(h.Get("Upload-Offset"))
		if err == nil && bad == nil && (at == len(u.data) && u.tus || h.Get("Upload-Complete") == "?1") {
			return nil
		}
		for err == nil && at <= len(u.data) {
			n := min(len(u.data)-at, 1+w.r.IntN(512<<10))
			if err = w.appendPiece(ctx, u, at, n); err != nil {
				break
			}
			if at += n; at == len(u.data) {
				stop()
				return nil
			}
		}
		if refusal, ok := err.(*client.Error); ok && refusal.Status != http.StatusServiceUnavailable && refusal.Status != http.StatusConflict {
			return err
		}
		w.waitForServer(ctx)
	}
	return ctx.Err()
}

// appendPiece sends n bytes of an upload.
func (w *worker) appendPiece(ctx context.Context, u *sending, at, n int) error {
	header := []string{"Upload-Offset", strconv.Itoa(at), "Content-Type", "application/offset+octet-stream"}
	if !u.tus {
		complete := "?0"
		if at+n == len(u.data) {
			complete = "?1"
		}
		header = []string{"Upload-Offset", strconv.Itoa(at), "Content-Type", "application/partial-upload", "Upload-Complete", complete}
	}
	_, _, err := w.call(ctx, http.MethodPatch, u.url, u.data[at:at+n], u.tus, header...)
	return err
}

// end gives up the uploads that were left where they are.
func (w *worker) end(ctx context.Context) {
	for _, u := range w.pending {
		_, _, err := w.call(ctx, http.MethodDelete, u.url, nil, u.tus)
		if err != nil && !isGone(err) {
			w.t.Errorf("end an upload: %v", err)
		}
	}
	w.pending = nil
}

// call sends a request and reads the answer. A status other than 2xx is an error.
func (a *arena) call(ctx context.Context, method, url string, body []byte, tus bool, header ...string) (http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if tus {
		r.Header.Set("Tus-Resumable", "1.0.0")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = &client.Error{Status: resp.StatusCode, Detail: fmt.Sprintf("%s %s: %s", method, url, p)}
	}
	return resp.Header, p, err
}
