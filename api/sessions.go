package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// Uploads by chunk list. SESSIONS.md describes what goes over the wire.
const (
	maxListJSON = 8 << 20  // bytes of a list as JSON
	maxBatch    = 64 << 20 // bytes of a request with chunks
	maxMissing  = 10_000   // chunks named in an answer
	listEntry   = 32 + 4   // bytes of a chunk in a list
	chunkHeader = 32 + 4 + 4
	maxRun      = 4096 // heads in a row before the bytes of their chunks
)

const (
	sessionsRoute = bucketRoute + "/_sessions"
	sessionRoute  = sessionsRoute + "/{upload}"
	chunkRoute    = sessionRoute + "/chunks/{digest}"
)

func (s *Server) sessionRoutes() []route {
	const all, one = sessionsRoute, sessionRoute
	in := func(h uploadsHandler) handler { return s.overProtocol("sessions", s.ofUploads(h)) }
	return []route{
		{"/api/files/_capabilities", methods{"GET": s.withIdentity(serverCapabilities)}},
		{all, methods{"POST": in(s.newSession)}},
		{one, methods{"GET": in(statSession), "DELETE": in(dropSession)}},
		{one + "/list", methods{"POST": takeContent(true, in(appendList))}},
		{one + "/missing", methods{"GET": in(listMissing)}},
		{one + "/chunks", methods{"POST": takeContent(true, in(s.receiveChunks))}},
		{chunkRoute, methods{"PUT": takeContent(true, in(s.receiveChunk))}},
		{one + "/commit", methods{"POST": in(commitSession)}},
	}
}

// newSession opens a session.
func (s *Server) newSession(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	var in client.NewSession
	if err := readJSONUpTo(r, &in, maxListJSON); err != nil {
		return err
	}
	refs, err := parseChunks(in.Chunks)
	if err != nil {
		return err
	}
	opts := &upload.Options{Listed: true, Bases: in.Bases, Replace: in.FileID, PutOptions: buckets.PutOptions{
		Folder: in.Folder, MIMEType: in.MIMEType, Metadata: in.Metadata, Tags: in.Tags, CacheControl: in.CacheControl, OnConflict: buckets.OnConflict(in.OnConflict),
		IfMatch: in.IfMatch, SkipUnchanged: in.SkipUnchanged, Digests: in.Digests}}
	if in.Size != nil {
		if *in.Size < 0 {
			return fmt.Errorf("size %d: want bytes: %w", *in.Size, errRequest)
		}
		opts.Size, opts.SizeKnown = *in.Size, true
	}
	if len(in.Digests) == 1 && in.Digests[0] == "none" {
		opts.Digests = []string{}
	}
	if opts.OnConflict == "" {
		opts.OnConflict = buckets.ConflictNew
	}
	if (in.Name == "") == (in.FileID == "") {
		return fmt.Errorf("want name, for a file, or file_id, for a version: %w", errRequest)
	}
	up, err := b.Begin(r.Context(), in.Name, opts)
	if err != nil {
		return err
	}
	out := sessionView(up)
	if len(refs) > 0 {
		now, l, err := b.AppendList(r.Context(), up.ID, 0, eachRef(refs))
		if err != nil {
			return errors.Join(err, b.Cancel(r.Context(), up.ID))
		}
		out = sessionView(now)
		out.MissingBytes = l.Bytes
		if out.Missing, err = missingDigests(r, l); err != nil {
			return err
		}
	}
	w.Header().Set("Location", mountOf(r).urlTo("files", b.Name(), "_sessions", up.ID))
	return writeJSON(w, http.StatusCreated, out)
}

func sessionView(up *upload.Upload) *client.Session {
	out := &client.Session{ID: up.ID, Bucket: up.Bucket, Name: up.Name, Folder: up.Folder, Chunker: up.Listed.Chunker,
		ListedChunks: up.Listed.Chunks, ListedBytes: up.Offset, ReceivedBytes: up.Listed.Received,
		CreatedAt: client.Time{Time: up.CreatedAt}, ExpiresAt: client.Time{Time: up.ExpiresAt}}
	if up.Length >= 0 {
		out.Size = &up.Length
	}
	if sp, err := chunker.Parse(out.Chunker); err == nil {
		out.Limits = client.SessionLimits{MinChunk: int64(sp.Min()), MaxChunk: int64(sp.Max()), MaxBatch: maxBatch}
	}
	return out
}

// findSession finds the session that a path names.
func findSession(r *http.Request, b *upload.Bucket) (*upload.Upload, error) {
	up, err := b.Find(r.Context(), mux.Vars(r)["upload"])
	if err == nil && up.Listed == nil {
		err = buckets.ErrNoUpload
	}
	return up, err
}

func statSession(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	up, err := findSession(r, b)
	if err != nil {
		return err
	}
	if up.File != nil {
		w.Header().Set("X-File-Id", up.File.ID)
		w.Header().Set("Content-Location", mountOf(r).pathToFile(up.File))
	}
	return writeJSON(w, http.StatusOK, sessionView(up))
}

func dropSession(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	up, err := findSession(r, b)
	if err != nil {
		return err
	}
	return noContent(w, b.Cancel(r.Context(), up.ID))
}

// appendList appends a piece to the chunk list of a session.
func appendList(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	q := queryOf(r)
	at := q.readNumber("at", 0, 0, math.MaxInt64)
	if !q.values.Has("at") {
		q.refuse("at", "want the number of chunks listed so far")
	}
	if q.err != nil {
		return q.err
	}
	next, err := listBody(r)
	if err != nil {
		return err
	}
	up, l, err := b.AppendList(r.Context(), mux.Vars(r)["upload"], int64(at), next)
	if err != nil {
		return err
	}
	w.Header().Set("X-Listed-Chunks", strconv.FormatInt(up.Listed.Chunks, 10))
	if acceptsType(r, client.BitmapType) {
		return writeBitmap(w, l)
	}
	out := client.Listed{ListedChunks: up.Listed.Chunks, ListedBytes: up.Offset, MissingBytes: l.Bytes}
	if out.Missing, err = missingDigests(r, l); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// listBody returns a function that yields the list of a body, then io.EOF. The
// body has either media type of lists.
func listBody(r *http.Request) (func() (cas.Ref, error), error) {
	switch t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t {
	case "application/json":
		var in struct {
			Chunks []client.Chunk `json:"chunks"`
		}
		if err := readJSONUpTo(r, &in, maxListJSON); err != nil {
			return nil, err
		}
		refs, err := parseChunks(in.Chunks)
		return eachRef(refs), err
	case client.ChunkListType:
		body := bufio.NewReaderSize(r.Body, 64<<10)
		return func() (ref cas.Ref, err error) {
			var p [listEntry]byte
			if _, err := io.ReadFull(body, p[:]); err != nil {
				return ref, bodyError(err)
			}
			return cas.Ref{Digest: cas.Digest(p[:32]), Length: binary.BigEndian.Uint32(p[32:])}, nil
		}, nil
	}
	return nil, fmt.Errorf("send the list as application/json or %s: %w", client.ChunkListType, errMediaType)
}

// eachRef returns a function that yields refs, then io.EOF.
func eachRef(refs []cas.Ref) func() (cas.Ref, error) {
	return func() (cas.Ref, error) {
		if len(refs) == 0 {
			return cas.Ref{}, io.EOF
		}
		r := refs[0]
		refs = refs[1:]
		return r, nil
	}
}

func parseChunks(chunks []client.Chunk) ([]cas.Ref, error) {
	refs := make([]cas.Ref, len(chunks))
	for i, c := range chunks {
		d, err := cas.ParseDigest(c.Digest)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: digest %.80q: want 64 small hexadecimal digits: %w", i, c.Digest, buckets.ErrList)
		}
		if c.Size <= 0 || c.Size > cas.MaxChunk {
			return nil, fmt.Errorf("chunk %d: size %d: want 1 to %d bytes: %w", i, c.Size, cas.MaxChunk, buckets.ErrList)
		}
		refs[i] = cas.Ref{Digest: d, Length: uint32(c.Size)}
	}
	return refs, nil
}

// missingDigests returns the digests of the chunks that must be sent, each
// once.
func missingDigests(r *http.Request, l *upload.Lacking) ([]string, error) {
	out, said := []string{}, make(map[cas.Digest]bool)
	for c, err := range l.Each(r.Context()) {
		if err != nil {
			return nil, err
		}
		if said[c.Digest] {
			continue
		}
		if len(out) == maxListJSON/listEntry {
			return nil, fmt.Errorf("more chunks are missing than fit an answer as JSON: ask with Accept: %s: %w", client.BitmapType, errTooLarge)
		}
		said[c.Digest] = true
		out = append(out, c.Digest.String())
	}
	return out, nil
}

func writeBitmap(w http.ResponseWriter, l *upload.Lacking) error {
	h := w.Header()
	h.Set("Content-Type", client.BitmapType)
	h.Set("Content-Length", strconv.Itoa(len(l.MustSend)))
	h.Set("Cache-Control", "no-store")
	w.Write(l.MustSend) // a client that is gone needs no answer
	return nil
}

// listMissing answers with what must still be sent.
func listMissing(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	q := queryOf(r)
	first, limit := q.readNumber("after", 0, 0, math.MaxInt64), q.readNumber("limit", maxMissing, 1, math.MaxInt64)
	if q.values.Has("after") {
		first++
	}
	if q.err != nil {
		return q.err
	}
	l, err := b.Lacking(r.Context(), mux.Vars(r)["upload"])
	if err != nil {
		return err
	}
	if acceptsType(r, client.BitmapType) {
		w.Header().Set("X-Listed-Chunks", strconv.FormatInt(l.Count, 10))
		return writeBitmap(w, l)
	}
	limit = min(limit, maxMissing)
	out := &client.MissingPage{Missing: []client.MissingChunk{}}
	for c, err := range l.Each(r.Context()) {
		if err != nil {
			return err
		}
		if uint64(c.Index) < first {
			continue
		}
		if uint64(len(out.Missing)) == limit {
			out.NextAfter = &out.Missing[limit-1].Index
			break
		}
		out.Missing = append(out.Missing, client.MissingChunk{Digest: c.Digest.String(), Size: c.Size, Index: c.Index})
	}
	return writeJSON(w, http.StatusOK, out)
}

// commitSession makes the file.
func commitSession(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	up, err := findSession(r, b)
	if err != nil {
		return err
	}
	again := up.File != nil
	up, err = b.Commit(r.Context(), up.ID)
	var missing *upload.MissingError
	if errors.As(err, &missing) {
		return tellMissing(w, r, missing)
	}
	if err != nil {
		return err
	}
	if again || up.File.Unchanged {
		return writeUploaded(w, r, http.StatusOK, up.File, nil)
	}
	return writeUploaded(w, r, http.StatusCreated, up.File, nil)
}

// tellMissing answers a commit with the chunks that it lacks.
func tellMissing(w http.ResponseWriter, r *http.Request, e *upload.MissingError) error {
	p := problemOf(e)
	digests := []string{}
	for c, err := range e.Lacking.Each(r.Context()) {
		if err != nil {
			return err
		}
		if len(digests) == maxMissing {
			break
		}
		digests = append(digests, c.Digest.String())
	}
	p.Details["missing"], p.Details["missing_chunks"], p.Details["missing_bytes"] = digests, e.Lacking.Chunks, e.Lacking.Bytes
	writeProblem(w, r, p, e)
	return nil
}
