package api

import (
	"net/http"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
)

// View returns f as clients see it who talk to a server that is mounted nowhere
// else than at the root. Only operators get physical sizes, which show what others
// have stored.
func View(f *buckets.File, operator bool) *client.File { return mount{}.view(f, operator) }

// view returns f as clients see it.
func (m mount) view(f *buckets.File, operator bool) *client.File {
	v := &client.File{
		ID: f.ID, ManifestID: f.ManifestID, Bucket: f.Bucket, Name: f.Name, Folder: f.Folder, Path: f.Path(),
		Size: f.Size, MIMEType: f.MIMEType, DeclaredMIMEType: f.DeclaredMIMEType, Checksums: f.Checksums,
		Version: f.Version, VersionsCount: f.VersionsCount, State: string(f.State), Owner: f.Owner,
		Access: f.Access, Metadata: f.Metadata, Tags: f.Tags, CacheControl: f.CacheControl, Refs: f.Refs,
		CreatedAt: client.Time{Time: f.CreatedAt}, UpdatedAt: client.Time{Time: f.UpdatedAt}, Unchanged: f.Unchanged,
		Links: m.linksTo(f, f.ID),
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

// linksTo returns where the content of f is, by its ID or that of its version.
func (m mount) linksTo(f *buckets.File, id string) client.Links {
	return client.Links{Download: m.pathTo("files", f.Bucket, id, "download"), View: m.pathTo("files", f.Bucket, id, "view")}
}

// versionView is view of a version as such: its times are its own. The content
// of a version never changes.
func (m mount) versionView(f *buckets.File, operator bool) *client.File {
	v := m.view(f, operator)
	v.CreatedAt = client.Time{Time: f.VersionCreatedAt}
	v.UpdatedAt = v.CreatedAt
	return v
}

// uploadView is view with the bytes that the upload has added, for operators.
// The bearer of a signed URL gets only what it has sent.
func (m mount) uploadView(f *buckets.File, who *access.Principal) *client.File {
	v := m.view(f, who.Operator)
	if who.Operator {
		v.NewBytes, v.StoredBytes = &f.NewBytes, &f.StoredBytes
	}
	if who.Grant != nil {
		v.Metadata, v.Tags, v.Access, v.Owner, v.CacheControl = map[string]any{}, []string{}, map[string]string{}, "", ""
	}
	return v
}

// writeFile answers with f, which lies in b, unless err is set.
func writeFile(w http.ResponseWriter, r *http.Request, b *buckets.Bucket, status int, f *buckets.File, err error) error {
	if err == nil {
		err = b.CountReferences(r.Context(), f)
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", entityTag(f))
	return writeJSON(w, status, spellFile(r, mountOf(r).view(f, principalOf(r).Operator)))
}

// entityTag returns the strong validator of a version's content.
func entityTag(f *buckets.File) string { return `"b3-` + f.Checksums["root"] + `"` }
