package api_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/race"
)

func digestOf(p []byte) string { return fmt.Sprintf("%x", blake3.Sum256(p)) }

// cut cuts content as a splitter of that name does.
func cut(t *testing.T, name string, content []byte) (out [][]byte) {
	t.Helper()
	s, err := chunker.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(content) > 0 {
		n := s.Split(content[:min(len(content), s.Max())])
		out = append(out, content[:n])
		content = content[n:]
	}
	return out
}

func chunkList(chunks [][]byte) (p []byte) {
	for _, c := range chunks {
		d := blake3.Sum256(c)
		p = binary.BigEndian.AppendUint32(append(p, d[:]...), uint32(len(c)))
	}
	return p
}

// framed is a batch of chunks, raw or compressed.
func framed(compress func() bool, chunks ...[]byte) (p []byte) {
	enc, _ := zstd.NewWriter(nil)
	for _, c := range chunks {
		d := blake3.Sum256(c)
		sent := c
		if compress() {
			if z := enc.EncodeAll(c, nil); len(z) < len(c) {
				sent = z
			}
		}
		p = binary.BigEndian.AppendUint32(append(p, d[:]...), uint32(len(c)))
		p = append(binary.BigEndian.AppendUint32(p, uint32(len(sent))), sent...)
	}
	return p
}

func raw() bool { return false }

// A sender sends files by sessions, as somebody.
type sender struct {
	*world
	path   string // of the bucket
	header []string
}

func (s *sender) open(session client.NewSession) *client.Session {
	s.t.Helper()
	p, err := json.Marshal(session)
	if err != nil {
		s.t.Fatal(err)
	}
	out := new(client.Session)
	s.json(out, s.want(201, "", "POST", s.path+"/_sessions", bytes.NewReader(p), append(s.header, "Content-Type", "application/json")...))
	return out
}

func (s *sender) json(out any, a *answer) {
	s.t.Helper()
	if err := json.Unmarshal(a.body, out); err != nil {
		s.t.Fatalf("%s: %v", a.body, err)
	}
}

// list lists chunks and returns those that must be sent.
func (s *sender) list(id string, at int, chunks [][]byte) (missing [][]byte) {
	s.t.Helper()
	a := s.want(200, "", "POST", fmt.Sprintf("%s/_sessions/%s/list?at=%d", s.path, id, at), bytes.NewReader(chunkList(chunks)),
		append(s.header, "Content-Type", client.ChunkListType, "Accept", client.BitmapType)...)
	for i, c := range chunks {
		if len(a.body) > i/8 && a.body[i/8]&(0x80>>(i%8)) != 0 {
			missing = append(missing, c)
		}
	}
	return missing
}

func (s *sender) send(id string, compress func() bool, chunks ...[]byte) {
	s.t.Helper()
	s.want(200, "", "POST", s.path+"/_sessions/"+id+"/chunks", bytes.NewReader(framed(compress, chunks...)), append(s.header, "Content-Type", client.ChunksType)...)
}

func (s *sender) commit(id string, status int, code string) *answer {
	s.t.Helper()
	return s.want(status, code, "POST", s.path+"/_sessions/"+id+"/commit", nil, s.header...)
}

func (s *sender) file(id string) *client.File {
	s.t.Helper()
	f := new(client.File)
	s.json(f, s.commit(id, 201, ""))
	return f
}

// upload sends content whole and returns the file, and how many bytes of it
// were asked for.
func (s *sender) upload(session client.NewSession, content []byte) (*client.File, int) {
	s.t.Helper()
	se := s.open(session)
	missing := s.list(se.ID, 0, cut(s.t, se.Chunker, content))
	s.send(se.ID, raw, missing...)
	return s.file(se.ID), len(bytes.Join(missing, nil))
}

func (w *world) dev(bucket string) *sender { return &sender{w, "/api/files/" + bucket, nil} }

func (w *world) as(sub, bucket string) *sender {
	return &sender{w, "/api/files/" + bucket, []string{"Authorization", token(w.t, sub, nil)}}
}

// A file that is sent chunk by chunk, in any order, side by side, raw and
// compressed, is the file that it would be otherwise.
func TestSession(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	s := w.dev("demo")
	content := append(noise(5_000_000), bytes.Repeat([]byte("over and over "), 100_000)...)
	se := s.open(client.NewSession{Name: "a.bin", Folder: "x", Size: ptr(int64(len(content))), Metadata: map[string]any{"k": "v"}, Tags: []string{"t"}})
	chunks := cut(t, se.Chunker, content)
	var missing [][]byte
	for at := 0; at < len(chunks); {
		n := min(1+r.IntN(60), len(chunks)-at)
		missing = append(missing, s.list(se.ID, at, chunks[at:at+n])...)
		s.want(409, "list-offset-mismatch", "POST", fmt.Sprintf("%s/_sessions/%s/list?at=%d", s.path, se.ID, at+n+1), strings.NewReader(`{"chunks": []}`), "Content-Type", "application/json")
		at += n
	}
	s.commit(se.ID, 409, "chunks-missing")
	r.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
	var g sync.WaitGroup
	for part := range slices.Chunk(missing[1:], 10) {
		g.Go(func() {
			n := (len(part) + 1) / 2
			s.want(200, "", "POST", s.path+"/_sessions/"+se.ID+"/chunks", bytes.NewReader(together(part[:n]...)), "Content-Type", client.ChunksType)
			s.send(se.ID, func() bool { return len(part)%2 == 0 }, part[n:]...)
		})
	}
	g.Wait()
	var told struct{ Details struct{ Missing []string } }
	s.json(&told, s.commit(se.ID, 409, "chunks-missing"))
	if want := digestOf(missing[0]); len(told.Details.Missing) != 1 || told.Details.Missing[0] != want {
		t.Fatalf("missing %v, want %s", told.Details.Missing, want)
	}
	one := "/_sessions/" + se.ID + "/chunks/" + digestOf(missing[0])
	enc, _ := zstd.NewWriter(nil)
	s.want(201, "", "PUT", s.path+one, bytes.NewReader(enc.EncodeAll(missing[0], nil)), "Content-Encoding", "zstd")
	s.want(200, "", "PUT", s.path+one, bytes.NewReader(missing[0]))
	f := s.file(se.ID)
	again := new(client.File)
	s.json(again, s.commit(se.ID, 200, ""))
	whole := w.put("whole", content)
	if f.Checksums["root"] != whole.Checksums["root"] || f.Checksums["sha256"] != whole.Checksums["sha256"] || f.Path != "x/a.bin" || f.Metadata["k"] != "v" ||
		again.ManifestID != f.ManifestID || *whole.NewBytes != 0 {
		t.Errorf("by session %+v, again %+v, whole %+v", f, again, whole)
	}
	if a := s.want(200, "", "GET", s.path+"/"+f.ID+"/download", nil); !bytes.Equal(a.body, content) {
		t.Error("it reads back otherwise")
	}
	s.want(204, "", "DELETE", s.path+"/_sessions/"+se.ID, nil)
	s.want(200, "", "GET", s.path+"/"+f.ID, nil)
	if empty, asked := s.upload(client.NewSession{Name: "empty"}, nil); empty.Size != 0 || asked != 0 {
		t.Errorf("empty file: %+v", empty)
	}
}

func ptr[T any](v T) *T { return &v }

// Nothing of a session is needed to resume: whoever offers the file again is
// asked for the rest. Others are asked for all of it.
func TestSessionResumes(t *testing.T) {
	w := secured(t, matrixSchema)
	content := noise(3_000_000)
	ann, bob := w.as("ann", "private"), w.as("bob", "private")
	first := ann.open(client.NewSession{Name: "a"})
	chunks := cut(t, first.Chunker, content)
	missing := ann.list(first.ID, 0, chunks)
	// The connection breaks in the middle of the third chunk.
	batch := framed(raw, missing...)
	end := 3*40 + len(missing[0]) + len(missing[1]) + len(missing[2])/2
	head := fmt.Sprintf("POST %s/_sessions/%s/chunks HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\nAuthorization: %s\r\n\r\n",
		ann.path, first.ID, client.ChunksType, len(batch), ann.header[1])
	if a := w.raw(head+string(batch[:end]), true); a.StatusCode != 400 || a.code() != "incomplete-body" {
		t.Fatalf("broken body: %d %s", a.StatusCode, a.body)
	}
	second := ann.open(client.NewSession{Name: "a"})
	rest := ann.list(second.ID, 0, chunks)
	if len(rest) != len(chunks)-2 {
		t.Fatalf("asked for %d of %d chunks, want all but 2", len(rest), len(chunks))
	}
	if other := bob.open(client.NewSession{Name: "b"}); len(bob.list(other.ID, 0, chunks)) != len(chunks) {
		t.Error("bob is told of what ann has sent")
	}
	ann.send(second.ID, raw, rest...)
	f := ann.file(second.ID)

	// A version is asked for what changed.
	changed := slices.Concat(content[:1000], []byte("inserted"), content[1000:2_000_000], noise(100), content[2_000_100:])
	v, asked := ann.upload(client.NewSession{FileID: f.ID}, changed)
	if v.Version != 2 || v.ID != f.ID || asked > 1<<20 {
		t.Errorf("version %d, %d bytes asked for", v.Version, asked)
	}
	if a := ann.want(200, "", "GET", ann.path+"/"+f.ID+"/download", nil, ann.header...); !bytes.Equal(a.body, changed) {
		t.Error("the version reads back otherwise")
	}
	if a := ann.want(200, "", "GET", ann.path+"/"+f.ID+"/download?version=1", nil, ann.header...); !bytes.Equal(a.body, content) {
		t.Error("the first version reads back otherwise")
	}
}

const dedupSchema = `
buckets:
  own:    {dedup: principal, rules: {create: auth.id != null, read: '"shared" in file.tags || auth.id == file.owner', update: auth.id == file.owner}}
  shared: {dedup: bucket, rules: {create: auth.id != null, read: '"shared" in file.tags || auth.id == file.owner', update: auth.id == file.owner}}
  meta:   {dedup: bucket, rules: {create: auth.id != null, read: "true", download: auth.id == file.owner, update: "true"}}
  open:   {dedup: global, rules: {create: auth.id != null, read: auth.id == file.owner}}
`

// Knowing a digest opens nothing: what is stored is told only to those who
// have sent it, or may read a file that has it.
func TestSessionTellsOnlyWhatMayBeRead(t *testing.T) {
	w := secured(t, dedupSchema)
	content := noise(1_000_000)
	chunks := cut(t, "gear1-16384-65536-262144-15-13", content)
	asks := func(s *sender, bases ...string) int {
		t.Helper()
		se := s.open(client.NewSession{Name: "probe", Bases: bases})
		missing := s.list(se.ID, 0, chunks)
		if len(missing) == len(chunks) { // a commit draws on nothing either
			var told struct{ Details struct{ Missing []string } }
			s.json(&told, s.commit(se.ID, 409, "chunks-missing"))
			if len(told.Details.Missing) != len(chunks) {
				t.Errorf("the commit lacks %d of %d chunks", len(told.Details.Missing), len(chunks))
			}
		}
		return len(missing)
	}
	files := make(map[string]*client.File)
	for _, bucket := range []string{"own", "shared", "meta", "open"} {
		files[bucket] = w.putAs("ann", bucket, "a", string(content))
	}
	all := len(chunks)
	refused := func(s *sender, code string, status int, base string) {
		t.Helper()
		s.want(status, code, "POST", s.path+"/_sessions", strings.NewReader(`{"name": "x", "bases": ["`+base+`"]}`), append(s.header, "Content-Type", "application/json")...)
	}
	for _, bucket := range []string{"own", "shared", "meta"} {
		ann, bob := w.as("ann", bucket), w.as("bob", bucket)
		if got := asks(ann); got != all {
			t.Errorf("%s: ann without bases is asked for %d of %d", bucket, got, all)
		}
		if got := asks(ann, files[bucket].ID); got != 0 {
			t.Errorf("%s: ann with her file as base is asked for %d", bucket, got)
		}
		refused(bob, "file-not-found", 404, missing("f_"))
		if bucket != "meta" {
			refused(bob, "file-not-found", 404, files[bucket].ID)
		} else {
			refused(bob, "access-denied", 403, files[bucket].ID) // he may read its metadata, not its bytes
			if se := bob.open(client.NewSession{FileID: files[bucket].ID}); len(bob.list(se.ID, 0, chunks)) != all {
				t.Error("the version that bob may replace, and not download, is a base")
			}
		}
		refused(bob, "file-not-found", 404, files["open"].ID)
	}
	for bucket, want := range map[string]int{"own": -1, "shared": 0} {
		ann, bob := w.as("ann", bucket), w.as("bob", bucket)
		ann.want(200, "", "PATCH", ann.path+"/"+files[bucket].ID, strings.NewReader(`{"tags": ["shared"]}`), append(ann.header, "Content-Type", "application/json")...)
		if want < 0 {
			refused(bob, "invalid-base", 400, files[bucket].ID)
		} else if got := asks(bob, files[bucket].ID); got != want {
			t.Errorf("%s: bob with a base that he may read is asked for %d", bucket, got)
		}
	}
	if got := asks(w.as("bob", "open")); got != 0 {
		t.Errorf("dedup global: asked for %d", got)
	}
	u := w.as("ann", "own")
	se := u.open(client.NewSession{Name: "up"})
	refused(w.as("bob", "own"), "upload-not-found", 404, se.ID)
}

// Who may no longer read a base when the upload is committed is asked for its
// chunks.
func TestSessionBaseWithdrawn(t *testing.T) {
	w := secured(t, dedupSchema)
	content := noise(1_000_000)
	ann, bob := w.as("ann", "shared"), w.as("bob", "shared")
	f := w.putAs("ann", "shared", "a", string(content))
	patch := func(tags string) {
		ann.want(200, "", "PATCH", ann.path+"/"+f.ID, strings.NewReader(`{"tags": `+tags+`}`), append(ann.header, "Content-Type", "application/json")...)
	}
	patch(`["shared"]`)
	se := bob.open(client.NewSession{Name: "b", Bases: []string{f.ID}})
	chunks := cut(t, se.Chunker, content)
	if n := len(bob.list(se.ID, 0, chunks)); n != 0 {
		t.Fatalf("asked for %d", n)
	}
	patch(`[]`)
	bob.commit(se.ID, 409, "chunks-missing")
	bob.send(se.ID, raw, chunks...)
	bob.file(se.ID)
}

// Requests that lie are refused, and leave nothing.
func TestSessionAttacks(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	s := w.dev("demo")
	j := []string{"Content-Type", "application/json"}
	se := s.open(client.NewSession{Name: "a", Size: ptr(int64(100_000))})
	const at = "SESSION"
	d := digestOf([]byte("x"))
	for what, c := range map[string]struct {
		status                   int
		code, method, path, body string
		header                   []string
	}{
		"no name":               {400, "invalid-request", "POST", s.path + "/_sessions", `{}`, j},
		"name and file":         {400, "invalid-request", "POST", s.path + "/_sessions", `{"name": "a", "file_id": "f_x"}`, j},
		"negative size":         {400, "invalid-request", "POST", s.path + "/_sessions", `{"name": "a", "size": -1}`, j},
		"no such file":          {404, "file-not-found", "POST", s.path + "/_sessions", `{"file_id": "f_x"}`, j},
		"17 bases":              {400, "invalid-base", "POST", s.path + "/_sessions", `{"name": "a", "bases": [` + strings.TrimSuffix(strings.Repeat(`"f_x",`, 17), ",") + `]}`, j},
		"bad digest":            {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "AB", "size": 1}]}`, j},
		"empty chunk":           {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": 0}]}`, j},
		"negative chunk":        {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": -5}]}`, j},
		"chunk too long":        {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": 262145}]}`, j},
		"sums that overflow":    {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": 9223372036854775807}]}`, j},
		"short before the last": {400, "invalid-chunk-list", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": 5}, {"digest": "` + d + `", "size": 50000}]}`, j},
		"more than declared":    {422, "size-mismatch", "POST", at + "/list?at=0", `{"chunks": [{"digest": "` + d + `", "size": 90000}, {"digest": "` + d + `", "size": 90000}]}`, j},
		"half an entry":         {400, "incomplete-body", "POST", at + "/list?at=0", string(chunkList([][]byte{noise(20_000)})) + "x", []string{"Content-Type", client.ChunkListType}},
		"no at":                 {400, "invalid-request", "POST", at + "/list", `{"chunks": []}`, j},
		"list of another type":  {415, "content-type-unsupported", "POST", at + "/list?at=0", `a`, []string{"Content-Type", "text/plain"}},
		"chunk of another type": {415, "content-type-unsupported", "POST", at + "/chunks", `a`, []string{"Content-Type", "text/plain"}},
		"wrong digest":          {422, "chunk-digest-mismatch", "PUT", at + "/chunks/" + d, "y", nil},
		"no digest":             {404, "not-found", "PUT", at + "/chunks/zz", "y", nil},
		"no bytes":              {400, "invalid-request", "PUT", at + "/chunks/" + d, "", nil},
		"too many bytes":        {413, "chunk-too-large", "PUT", at + "/chunks/" + d, strings.Repeat("x", 262145), nil},
		"no zstd":               {422, "chunk-not-decodable", "PUT", at + "/chunks/" + d, "x", []string{"Content-Encoding", "zstd"}},
		"other encoding":        {415, "content-type-unsupported", "PUT", at + "/chunks/" + d, "x", []string{"Content-Encoding", "br"}},
		"bomb":                  {422, "chunk-not-decodable", "PUT", at + "/chunks/" + d, bomb(1 << 30), []string{"Content-Encoding", "zstd"}},
		"smaller bomb":          {413, "chunk-too-large", "PUT", at + "/chunks/" + d, bomb(1 << 20), []string{"Content-Encoding", "zstd"}},
		"batch: bomb":           {422, "chunk-not-decodable", "POST", at + "/chunks", frame(200_000, bomb(1<<30)), []string{"Content-Type", client.ChunksType}},
		"batch: other length":   {422, "chunk-not-decodable", "POST", at + "/chunks", frame(200_000, bomb(100_000)), []string{"Content-Type", client.ChunksType}},
		"batch: too long":       {413, "chunk-too-large", "POST", at + "/chunks", frame(1<<31, "x"), []string{"Content-Type", client.ChunksType}},
		"batch: sent more":      {400, "invalid-request", "POST", at + "/chunks", frame(1, "xx"), []string{"Content-Type", client.ChunksType}},
		"batch: wrong digest":   {422, "chunk-digest-mismatch", "POST", at + "/chunks", frame(2, "xx"), []string{"Content-Type", client.ChunksType}},
		"batch: bytes together": {422, "chunk-digest-mismatch", "POST", at + "/chunks", frame(2, "") + frame(2, "xx") + "yy", []string{"Content-Type", client.ChunksType}},
		"batch: none together":  {400, "incomplete-body", "POST", at + "/chunks", frame(2, "") + frame(2, ""), []string{"Content-Type", client.ChunksType}},
		"batch: too many":       {413, "body-too-large", "POST", at + "/chunks", strings.Repeat(frame(1, ""), 5000), []string{"Content-Type", client.ChunksType}},
		"batch: too much":       {413, "body-too-large", "POST", at + "/chunks", strings.Repeat(frame(262144, ""), 300), []string{"Content-Type", client.ChunksType}},
		"batch: bomb together":  {400, "invalid-request", "POST", at + "/chunks", frame(2, "") + frame(200_000, bomb(200_000)), []string{"Content-Type", client.ChunksType}},
		"no session":            {404, "upload-not-found", "POST", s.path + "/_sessions/" + missing("u_") + "/commit", "", nil},
		"other bucket":          {404, "upload-not-found", "GET", "/api/files/other/_sessions/" + se.ID, "", nil},
	} {
		t.Run(what, func(t *testing.T) {
			own := s.open(client.NewSession{Name: "a", Size: ptr(int64(100_000))})
			path := strings.Replace(c.path, at, s.path+"/_sessions/"+own.ID, 1)
			w.want(c.status, c.code, c.method, path, strings.NewReader(c.body), c.header...)
		})
	}
	// A tus upload is no session, and a session no tus upload.
	s.want(404, "upload-not-found", "PATCH", "/api/tus/demo/"+se.ID, strings.NewReader("x"), "Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	s.commit(se.ID, 422, "size-mismatch")
	w.empty()
	// Nor does anybody fill the disk with what no list has.
	var last *answer
	for i := range 5 {
		last = w.do("PUT", s.path+"/_sessions/"+se.ID+"/chunks/"+digestOf([]byte{byte(i)}), bytes.NewReader([]byte{byte(i)}))
	}
	if last.code() != "file-too-large" {
		t.Errorf("chunks that are not listed: %d %s", last.StatusCode, last.body)
	}
}

// together is a batch of raw chunks whose bytes come behind all their heads.
func together(chunks ...[]byte) (p []byte) {
	for i, c := range chunks {
		d, sent := blake3.Sum256(c), 0
		if i == len(chunks)-1 {
			sent = len(c)
		}
		p = binary.BigEndian.AppendUint32(append(p, d[:]...), uint32(len(c)))
		p = binary.BigEndian.AppendUint32(p, uint32(sent))
	}
	return append(p, bytes.Join(chunks, nil)...)
}

// frame is a chunk with a wrong digest.
func frame(plain uint32, sent string) string {
	p := binary.BigEndian.AppendUint32(make([]byte, 32), plain)
	return string(binary.BigEndian.AppendUint32(p, uint32(len(sent)))) + sent
}

func bomb(n int) string {
	var b bytes.Buffer
	enc, _ := zstd.NewWriter(&b)
	io.CopyN(enc, zeros{}, int64(n))
	enc.Close()
	return b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Clients can check their cuts against those that the server tells.
func TestServerCapabilities(t *testing.T) {
	w := newWorld(t)
	var c client.ServerCapabilities
	a := w.want(200, "", "GET", "/api/files/_capabilities", nil)
	if err := json.Unmarshal(a.body, &c); err != nil || len(c.Golden) < 15 || c.Profiles["balanced"] != "gear1-16384-65536-262144-15-13" {
		t.Errorf("%v: %.300s", err, a.body)
	}
	for _, g := range c.Golden {
		sum := 0
		for _, n := range g.Cuts {
			sum += n
		}
		if int64(sum) != g.Size {
			t.Errorf("%s of %d bytes is cut into %d", g.Input, g.Size, sum)
		}
	}
}
