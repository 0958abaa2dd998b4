package api

import (
	"cmp"
	"net/http"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// forever is how long a version may be kept, which never changes.
const forever = "max-age=31536000, immutable"

// setCaching says what caches may do with content. Those that several share may
// keep it only where everybody may download it; that is asked of the rules, and
// whatever a bucket or file says of itself gives way to it. pinned says that the
// URL names this version for ever.
func setCaching(h http.Header, r *http.Request, b *buckets.Bucket, o *buckets.Object, pinned bool) {
	public := o.Public && principalOf(r).Grant == nil && r.Header.Get(asHeader) == ""
	h.Set("Cache-Control", string(chooseCaching(r, b.Policy(), o, public, pinned)))
	h.Add("Vary", "Authorization, Cookie") // also where it is public now: rules change
}

func chooseCaching(r *http.Request, p buckets.Policy, o *buckets.Object, public, pinned bool) schema.CacheControl {
	said := schema.CacheControl(cmp.Or(o.CacheControl, p.CacheControl))
	public = public && !said.Has("private")
	switch {
	case principalOf(r).Grant != nil || o.State != buckets.Active:
		said = "no-cache" // what opens it ends
	case said.Has("no-store"):
	case isAtPath(r):
		said = "no-cache" // another file may have the path tomorrow
	case pinned && !said.Has("no-cache"):
		if said = forever; p.Access.FileRules {
			public = false // the file may get a rule that denies
		}
	case said == "":
		said = "no-cache"
	}
	switch {
	case !public:
		return said.Private()
	case said == "no-cache" || said == forever:
		return "public, " + said
	}
	return said
}
