package alyx

import (
	"path"
	"strings"

	"github.com/cairn-store/cairn/buckets/names"
)

// fitName returns the folder and the name of a file that Alyx calls name. A slash,
// which only resumable uploads of Alyx could bring in, separates folders. What no
// file can be called is changed.
func fitName(name, id string) (folder, base string, changed bool) {
	folder, base = path.Split(name)
	if f, err := names.CleanFolder(folder); err == nil && !strings.HasPrefix(folder, "/") {
		if b, err := names.Clean(base); err == nil {
			return f, b, false
		}
	}
	base = strings.NewReplacer("/", "_", "\\", "_").Replace(strings.ToValidUTF8(name, "_"))
	base = strings.Trim(names.Strip(base), " .")
	if len(base) > names.MaxName {
		ext := path.Ext(base)
		if len(ext) > 32 {
			ext = ""
		}
		base = strings.ToValidUTF8(base[:names.MaxName-len(ext)], "") + ext
	}
	if b, err := names.Clean(base); err == nil {
		return "", b, true
	}
	return "", id, true
}
