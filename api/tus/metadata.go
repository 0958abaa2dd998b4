package tus

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
)

const (
	maxMetadata = 8 << 10 // bytes of Upload-Metadata
	defaultName = "upload"
)

// A Reading says how Upload-Metadata is read. The zero value is as most clients
// write it.
type Reading struct {
	// Latin1 reads values that are not UTF-8 as Latin-1, as btoa of JavaScript makes
	// them.
	Latin1 bool
	// Plain gives a meaning to filename and filetype alone. All other keys are
	// metadata.
	Plain bool
}

// decode returns the text of a value. It reports false if that is not to be read.
func (as Reading) decode(coded string) (string, bool) {
	value, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || !utf8.Valid(value) && !as.Latin1 {
		return "", false
	}
	if utf8.Valid(value) {
		return string(value), true
	}
	runes := make([]rune, len(value))
	for i, c := range value {
		runes[i] = rune(c)
	}
	return string(runes), true
}

// ParseMetadata reads Upload-Metadata: keys with base64 values. filename and
// filetype, and the keys that clients send in their place, set the name and
// type of the file. folder and fileId are extensions of this server. All other
// keys become the metadata of the file. JavaScript clients write what is absent
// as null or undefined; that is left out where no value of the key can be meant.
func ParseMetadata(header string, as Reading) (*upload.Options, string, error) {
	opts, name := &upload.Options{}, ""
	if len(header) > maxMetadata {
		return nil, "", fmt.Errorf("%w: Upload-Metadata of %d bytes, at most %d are taken", ErrHeader, len(header), maxMetadata)
	}
	opts.OnConflict = buckets.ConflictNew
	if strings.TrimSpace(header) == "" {
		return opts, defaultName, nil
	}
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(header, ",") {
		pair = strings.TrimSpace(pair)
		key, coded, _ := strings.Cut(pair, " ")
		text, ok := as.decode(strings.TrimSpace(coded))
		if !ok || !isPrintable(key) || seen[key] {
			return nil, "", fmt.Errorf("%w: Upload-Metadata: %.80q: want keys in ASCII, each once, with base64 values", ErrHeader, pair)
		}
		seen[key] = true
		absent := text == "null" || text == "undefined"
		meaning := key
		if as.Plain && key != "filename" && key != "filetype" {
			meaning = ""
		}
		switch meaning {
		case "filename":
			name = text
		case "name":
			if name == "" {
				name = text
			}
		case "filetype", "type", "contentType":
			if !absent {
				opts.MIMEType = text
			}
		case "folder":
			opts.Folder = text
		case "cache_control":
			if !absent {
				opts.CacheControl = text
			}
		case "fileId":
			if !absent {
				opts.Replace = text
			}
		default:
			if key == "relativePath" && absent {
				continue
			}
			if opts.Metadata == nil {
				opts.Metadata = make(map[string]any)
			}
			opts.Metadata[key] = text
		}
	}
	if name == "" {
		name = defaultName
	}
	return opts, name, nil
}

// kept is what a HEAD request repeats of the creation.
type kept struct {
	Metadata string `json:"metadata,omitempty"`
	Concat   string `json:"concat,omitempty"`
}

func (k kept) String() string {
	p, _ := json.Marshal(k) // of two strings
	return string(p)
}

// parseKept is the reverse of String. It reports whether text is from there, and
// not from another protocol.
func parseKept(text string) (k kept, ok bool) {
	err := json.Unmarshal([]byte(text), &k)
	return k, err == nil
}

func isPrintable(key string) bool {
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return key != ""
}
