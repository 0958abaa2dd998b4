package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/local"
)

// What Alyx's own clients send about storage, and what they read of the answers:
// its generated TypeScript client (internal/codegen/typescript.go) and its admin
// page (ui/src/lib/api/client.ts, ui/src/lib/components/storage,
// ui/src/routes/(app)/storage, ui/src/routes/(app)/+page.svelte), as of 10afef2.

// An alyxRequest is a request, and the members of its answer that the client reads,
// by path ("*" is each element) with their types: string, number, boolean, date,
// array, texts (an object of strings); "?" behind a type is of a member that may be
// absent. In path and body, {NAME} is what an earlier answer had in a member that
// keep names so.
type alyxRequest struct {
	client, method, path string
	as                   string // whose token it has, "" for none: an <img>, a new window
	header               []string
	form                 *alyxForm
	body                 string
	status               int
	reads                map[string]string
	headers              map[string]string // of the answer, "*" for any
	keep                 map[string]string // NAME by path
}

// An alyxForm is the form of an upload, as FormData makes it.
type alyxForm struct {
	name, mimeType, content string
	metadata                map[string]string
}

func (f *alyxForm) encode() (body, contentType string) {
	var out bytes.Buffer
	m := multipart.NewWriter(&out)
	part, _ := m.CreatePart(textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename=%q`, f.name)},
		"Content-Type": {f.mimeType}})
	part.Write([]byte(f.content))
	for _, k := range slices.Sorted(maps.Keys(f.metadata)) {
		m.WriteField("metadata["+k+"]", f.metadata[k]) // behind the file
	}
	m.Close()
	return out.String(), m.FormDataContentType()
}

// fileMembers are those of FileMetadata, which both clients declare alike.
func fileMembers(at string) map[string]string {
	out := make(map[string]string)
	for name, kind := range map[string]string{"id": "string", "bucket": "string", "name": "string", "path": "string", "mime_type": "string", "size": "number",
		"checksum": "string?", "compressed": "boolean", "compression_type": "string?", "original_size": "number?", "metadata": "texts?", "version": "number",
		"created_at": "date", "updated_at": "date"} {
		out[at+name] = kind
	}
	return out
}

func with(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

const (
	png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
	j   = "application/json"
)

func btoa(latin1 string) string {
	var p []byte
	for _, r := range latin1 {
		p = append(p, byte(r))
	}
	return base64.StdEncoding.EncodeToString(p)
}

// pageMembers are those that the admin page reads of a listing.
func pageMembers() map[string]string {
	return with(fileMembers("files.*."), map[string]string{"files": "array", "total": "number", "offset": "number", "limit": "number"})
}

// adminRequests are those of the admin page, in the order in which somebody who
// looks at storage sends them. All but those of images and windows bear a token and,
// but for uploads, say Content-Type: application/json.
func adminRequests() []alyxRequest {
	json := []string{"Content-Type", j}
	page := pageMembers()
	refused := map[string]string{"error": "string", "message": "string", "code": "string"}
	return []alyxRequest{
		{client: "dashboard: admin.storageStats", method: "GET", path: "/api/admin/storage/stats", as: "root", header: json, status: 200,
			reads: map[string]string{"buckets": "array", "buckets.*.bucket": "string", "buckets.*.fileCount": "number", "buckets.*.totalBytes": "number"}},
		{client: "BucketSidebar: admin.schema", method: "GET", path: "/api/admin/schema", as: "root", header: json, status: 200,
			reads: map[string]string{"version": "number", "collections": "array", "buckets": "array", "buckets.*.name": "string", "buckets.*.backend": "string",
				"buckets.*.maxFileSize": "number?", "buckets.*.allowedTypes": "array?"}},
		{client: "UploadZone: files.upload", method: "POST", path: "/api/files/docs", as: "root", form: &alyxForm{name: "pixel.png", mimeType: "image/png", content: png},
			status: 201, reads: fileMembers(""), keep: map[string]string{"PNG": "id"}},
		{client: "UploadZone: files.upload of a text", method: "POST", path: "/api/files/docs", as: "root",
			form: &alyxForm{name: "note.txt", mimeType: "text/plain", content: "a note"}, status: 201, reads: fileMembers(""), keep: map[string]string{"TEXT": "id"}},
		{client: "UploadZone: files.upload of what the bucket does not take", method: "POST", path: "/api/files/images", as: "root",
			form: &alyxForm{name: "note.txt", mimeType: "text/plain", content: "a note"}, status: 415, reads: refused},
		{client: "FileBrowser: files.list", method: "GET", path: "/api/files/docs?limit=50", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=2", "offset": "=0", "limit": "=50", "files.0.name": "=note.txt", "files.1.name": "=pixel.png"})},
		{client: "FileBrowser: the second page", method: "GET", path: "/api/files/docs?offset=50&limit=50", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=2", "offset": "=50"})},
		{client: "FileBrowser: rows per page", method: "GET", path: "/api/files/docs?limit=100", as: "root", header: json, status: 200, reads: page},
		{client: "FileFilters: search", method: "GET", path: "/api/files/docs?limit=50&search=NOTE", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=1", "files.0.mime_type": "=text/plain; charset=utf-8"})},
		{client: "FileFilters: Images", method: "GET", path: "/api/files/docs?limit=50&mime_type=image%2F", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=1", "files.0.name": "=pixel.png"})},
		{client: "FileFilters: Documents", method: "GET", path: "/api/files/docs?limit=50&mime_type=application%2Fpdf", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=0"})},
		{client: "FileFilters: Other", method: "GET", path: "/api/files/docs?limit=50&search=x&mime_type=other", as: "root", header: json, status: 200, reads: page},
		{client: "a bucket that is not there", method: "GET", path: "/api/files/none?limit=50", as: "root", header: json, status: 404, reads: refused},
		{client: "files.get", method: "GET", path: "/api/files/docs/{PNG}", as: "root", header: json, status: 200, reads: fileMembers("")},
		{client: "FileTable, FilePreview: <img>", method: "GET", path: "/api/files/docs/{PNG}/view", status: 200,
			headers: map[string]string{"Content-Type": "image/png", "Content-Disposition": `inline; filename="pixel.png"`}},
		{client: "FilePreview: window.open", method: "GET", path: "/api/files/docs/{TEXT}/download", status: 200,
			headers: map[string]string{"Content-Type": "text/plain", "Content-Disposition": `attachment; filename="note.txt"`}},
		{client: "FilePreview: <video> asks for a range", method: "GET", path: "/api/files/docs/{PNG}/view", header: []string{"Range", "bytes=0-3"}, status: 206,
			headers: map[string]string{"Content-Range": "bytes 0-3/33"}},
		{client: "FileTable: files.generateSignedUrl", method: "GET", path: "/api/files/docs/{TEXT}/sign", as: "root", header: json, status: 200,
			reads: map[string]string{"url": "string", "token": "string", "expires_at": "date"}, keep: map[string]string{"URL": "url"}},
		{client: "who opens the URL that was copied", method: "GET", path: "{URL}", status: 200, headers: map[string]string{"Content-Length": "6"}},
		{client: "generateSignedUrl with parameters", method: "GET", path: "/api/files/docs/{PNG}/sign?operation=view&expiry=1h", as: "root", header: json, status: 200,
			reads: map[string]string{"url": "string", "token": "string", "expires_at": "date"}},
		{client: "files.deleteBatch", method: "DELETE", path: "/api/files/docs/batch", as: "root", header: json, body: `{"ids":["{PNG}","f_none"]}`, status: 200,
			reads: map[string]string{"deleted": "=1", "failed": "array", "failed.0.id": "=f_none", "failed.0.error": "string"}},
		{client: "files.delete", method: "DELETE", path: "/api/files/docs/{TEXT}", as: "root", header: json, status: 204},
		{client: "files.list, empty", method: "GET", path: "/api/files/docs?limit=50", as: "root", header: json, status: 200,
			reads: with(page, map[string]string{"total": "=0"})},
	}
}

// sdkRequests are those of the generated client, function by function.
func sdkRequests() []alyxRequest {
	tus := []string{"Tus-Resumable", "1.0.0"}
	json := []string{"Content-Type", j}
	bytes := func(offset string) []string {
		return append([]string{"Content-Type", "application/offset+octet-stream", "Upload-Offset", offset}, tus...)
	}
	list := with(fileMembers("items.*."), map[string]string{"items": "array", "total": "number", "page": "number", "perPage": "number"})
	return []alyxRequest{
		{client: "upload with metadata", method: "POST", path: "/api/files/docs", as: "ann",
			form: &alyxForm{"note.txt", "text/plain;charset=utf-8", "a note", map[string]string{"author": "ann", "n": "1"}}, status: 201,
			reads: with(fileMembers(""), map[string]string{"metadata.author": "string", "metadata.n": "string"}), keep: map[string]string{"FILE": "id"}},
		{client: "upload of a Blob", method: "POST", path: "/api/files/docs", as: "ann", form: &alyxForm{name: "blob", mimeType: "application/octet-stream", content: "\x00\x01"},
			status: 201, reads: fileMembers("")},
		{client: "upload that is refused", method: "POST", path: "/api/files/docs", form: &alyxForm{name: "x", mimeType: "text/plain", content: "x"}, status: 401,
			reads: map[string]string{"message": "string"}},
		{client: "download", method: "GET", path: "/api/files/docs/{FILE}/download", as: "ann", status: 200, headers: map[string]string{"Content-Length": "6"}},
		{client: "download of nothing", method: "GET", path: "/api/files/docs/none/download", as: "ann", status: 404, reads: map[string]string{"message": "string"}},
		{client: "getUrl", method: "GET", path: "/api/files/docs/{FILE}/sign", as: "ann", header: json, status: 200, reads: map[string]string{"url": "string", "expires_at": "date"}},
		{client: "getUrl with options", method: "GET", path: "/api/files/docs/{FILE}/sign?expiry=1h&operation=view", as: "ann", header: json, status: 200,
			reads: map[string]string{"url": "string", "expires_at": "date"}},
		{client: "list", method: "GET", path: "/api/files/docs", as: "ann", header: json, status: 200, reads: list},
		{client: "list with options", method: "GET", path: "/api/files/docs?limit=5000&offset=1", as: "ann", header: json, status: 200, reads: list},
		{client: "delete", method: "DELETE", path: "/api/files/docs/{FILE}", as: "ann", header: json, status: 204},

		{client: "uploadResumable: createUpload", method: "POST", path: "/api/files/docs/tus", as: "ann",
			header: append([]string{"Upload-Length", "6", "Upload-Metadata", "filename " + btoa("résumé.txt") + ",filetype " + btoa("text/plain") + ",type " + btoa("invoice")}, tus...),
			status: 201, headers: map[string]string{"Location": "*"}, keep: map[string]string{"UPLOAD": "Location"}},
		{client: "uploadResumable: uploadChunk", method: "PATCH", path: "/api/files/docs/tus/{UPLOAD}", as: "ann", header: bytes("0"), body: "abcd", status: 204,
			headers: map[string]string{"Upload-Offset": "4"}},
		{client: "uploadResumable: the last chunk", method: "PATCH", path: "/api/files/docs/tus/{UPLOAD}", as: "ann", header: bytes("4"), body: "ef", status: 204,
			headers: map[string]string{"Upload-Offset": "6"}},
		{client: "uploadResumable: getMetadata", method: "HEAD", path: "/api/files/docs/tus/{UPLOAD}", as: "ann", header: tus, status: 200,
			headers: map[string]string{"Upload-Offset": "6"}},
		{client: "uploadResumable: the file", method: "GET", path: "/api/files/docs?limit=1", as: "ann", header: json, status: 200,
			reads: with(list, map[string]string{"items.0.name": "=résumé.txt", "items.0.metadata.type": "=invoice", "items.0.mime_type": "=text/plain; charset=utf-8"})},
		{client: "uploadResumable: createUpload, to be cancelled", method: "POST", path: "/api/files/docs/tus", as: "ann",
			header: append([]string{"Upload-Length", "6", "Upload-Metadata", "filename " + btoa("gone") + ",filetype "}, tus...),
			status: 201, headers: map[string]string{"Location": "*"}, keep: map[string]string{"UPLOAD": "Location"}},
		{client: "uploadResumable: cancel, as it is written; it throws before it sends this", method: "DELETE", path: "/api/files/docs/tus/{UPLOAD}", as: "ann", header: tus, status: 204},
		{client: "uploadResumable: createUpload of nothing", method: "POST", path: "/api/files/docs/tus", as: "ann",
			header: append([]string{"Upload-Length", "0", "Upload-Metadata", "filename " + btoa("empty") + ",filetype "}, tus...),
			status: 201, headers: map[string]string{"Location": "*"}, keep: map[string]string{"UPLOAD": "Location"}},
		{client: "uploadResumable: uploadChunk of nothing", method: "PATCH", path: "/api/files/docs/tus/{UPLOAD}", as: "ann", header: bytes("0"), status: 204,
			headers: map[string]string{"Upload-Offset": "0"}},
	}
}

const (
	alyxConfig = testConfig + "\nserver: {compat: alyx}\n"
	alyxSchema = `
buckets:
  docs:   {max_file_size: 1MB, digests: [sha256], rules: {create: auth.id != null, read: "true", delete: auth.id == file.owner}}
  images: {allowed_types: [image/*], rules: {create: auth.id != null}}
`
)

// tick gives a store a clock by which no two files are of one moment.
func tick(opts *local.Options) {
	begun, ticks := time.Now(), atomic.Int64{}
	opts.Now = func() time.Time { return begun.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
}

// Everything that Alyx's clients send about storage is answered as they read it.
func TestAlyxClients(t *testing.T) {
	for name, requests := range map[string][]alyxRequest{"admin page": adminRequests(), "generated client": sdkRequests()} {
		t.Run(name, func(t *testing.T) {
			w := securedBy(t, alyxConfig, alyxSchema, tick)
			kept := make(map[string]string)
			for _, c := range requests {
				w.replay(&c, kept)
			}
		})
	}
}

// replay sends a request as a client does, and checks what that reads.
func (w *world) replay(c *alyxRequest, kept map[string]string) {
	t := w.t
	t.Helper()
	header := slices.Clone(c.header)
	if c.as == "root" {
		header = append(header, "Authorization", token(t, "root", map[string]any{"role": "admin"}))
	} else if c.as != "" {
		header = append(header, "Authorization", token(t, c.as, nil))
	}
	path, body := c.path, c.body
	if c.form != nil {
		var contentType string
		body, contentType = c.form.encode()
		header = append(header, "Content-Type", contentType)
	}
	for name, value := range kept {
		path, body = strings.ReplaceAll(path, "{"+name+"}", value), strings.ReplaceAll(body, "{"+name+"}", value)
	}
	a := w.do(c.method, strings.TrimPrefix(path, w.url), strings.NewReader(body), header...)
	if a.StatusCode != c.status {
		t.Errorf("%s: %d, want %d: %s", c.client, a.StatusCode, c.status, a.body)
		return
	}
	for name, want := range c.headers {
		if got := a.Header.Get(name); got == "" || want != "*" && got != want {
			t.Errorf("%s: %s %q, want %q", c.client, name, got, want)
		}
	}
	var v any
	if len(c.reads) > 0 {
		if err := json.Unmarshal(a.body, &v); err != nil {
			t.Errorf("%s: %v: %s", c.client, err, a.body)
			return
		}
	} else if a.StatusCode == 204 && len(a.body) > 0 {
		t.Errorf("%s: 204 with %s", c.client, a.body)
	}
	for path, kind := range c.reads {
		if err := checkMember(v, strings.Split(path, "."), kind); err != nil {
			t.Errorf("%s reads %s: %v: %s", c.client, path, err, a.body)
		}
	}
	for name, at := range c.keep {
		if m, ok := v.(map[string]any); ok {
			kept[name], _ = m[at].(string)
			continue
		}
		all := strings.Split(a.Header.Get(at), "/") // as the client follows a Location
		kept[name] = all[len(all)-1]
	}
}

// checkMember checks the type of a member, or what it is where kind begins with "=".
func checkMember(v any, path []string, kind string) error {
	if len(path) > 0 {
		switch all := v.(type) {
		case map[string]any:
			member, ok := all[path[0]]
			if !ok && strings.HasSuffix(kind, "?") {
				return nil
			}
			return checkMember(member, path[1:], kind)
		case []any:
			for i, e := range all {
				if path[0] == "*" || path[0] == fmt.Sprint(i) {
					if err := checkMember(e, path[1:], kind); err != nil {
						return err
					}
				}
			}
			if path[0] != "*" && len(all) == 0 {
				return fmt.Errorf("nothing is there")
			}
			return nil
		}
		return fmt.Errorf("%v has no members", v)
	}
	ok := false
	switch kind = strings.TrimSuffix(kind, "?"); kind {
	case "string":
		_, ok = v.(string)
	case "number":
		_, ok = v.(float64)
	case "boolean":
		_, ok = v.(bool)
	case "array":
		_, ok = v.([]any)
	case "date":
		text, _ := v.(string)
		_, err := time.Parse(time.RFC3339, text)
		ok = err == nil
	case "texts":
		all, isObject := v.(map[string]any)
		ok = isObject
		for _, e := range all {
			_, isText := e.(string)
			ok = ok && isText
		}
	default:
		ok = "="+fmt.Sprint(v) == kind
	}
	if !ok {
		return fmt.Errorf("%v is no %s", v, kind)
	}
	return nil
}
