package api

import (
	"net/http"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
)

// View returns f as clients see it. Only operators get physical sizes, which
// show what others have stored.
func View(f *buckets.File, operator bool) *client.File {
	v := &client.File{
		ID: f.ID, ManifestID: f.ManifestID, Bucket: f.Bucket, Name: f.Name, Folder: f.Folder, Path: f.Path(),
		Size: f.Size, MIMEType: f.MIMEType, DeclaredMIMEType: f.DeclaredMIMEType, Checksums: f.Checksums,
		Version: f.Version, VersionsCount: f.VersionsCount, State: string(f.State), Owner: f.Owner,
		Access: f.Access, Metadata: f.Metadata, Tags: f.Tags, CacheControl: f.CacheControl, Refs: f.Refs,
		CreatedAt: client.Time{Time: f.CreatedAt}, UpdatedAt: client.Time{Time: f.UpdatedAt}, Unchanged: f.Unchanged,
		Links: client.Links{Download: linkOf(f) + "/download", View: linkOf(f) + "/view"},
	}
	if v.Access == nil {
		v.Access = map[string]string{}
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	if !f.DeletedAt.IsZero() {
		v.DeletedAt = &client.Time{Time: f.DeletedAt}
	}
	return v
}

// versionView is View of a version as such: its times are its own. The content
// of a version never changes.
func versionView(f *buckets.File, operator bool) *client.File {
	v := View(f, operator)
	v.CreatedAt = client.Time{Time: f.VersionCreatedAt}
	v.UpdatedAt = v.CreatedAt
	return v
}

// uploadView is View with the bytes that the upload has added, for operators.
// The bearer of a signed URL gets only what it has sent.
func uploadView(f *buckets.File, who *access.Principal) *client.File {
	v := View(f, who.Operator)
	if who.Operator {
		v.NewBytes, v.StoredBytes = &f.NewBytes, &f.StoredBytes
	}
	if who.Grant != nil {
		v.Metadata, v.Tags, v.Access, v.Owner, v.CacheControl = map[string]any{}, []string{}, map[string]string{}, "", ""
	}
	return v
}

func linkOf(f *buckets.File) string { return "/api/files/" + f.Bucket + "/" + f.ID }

// writeFile answers with f, which lies in b, unless err is set.
func writeFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, status int, f *buckets.File, err error) error {
	if err == nil {
		err = b.CountReferences(r.Context(), f)
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", entityTag(f))
	return writeJSON(w, status, View(f, principalOf(r).Operator))
}

// entityTag returns the strong validator of a version's content.
func entityTag(f *buckets.File) string { return `"b3-` + f.Checksums["root"] + `"` }
