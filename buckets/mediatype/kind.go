package mediatype

import (
	"mime"
	"path"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// A Kind is what a content is found to be.
type Kind struct {
	Type string // its media type, without parameters

	content *mimetype.MIME // what the content alone shows
}

// A textKind is a kind of text that its content cannot be told from plain text
// by, or only by a first line that it need not have.
type textKind struct {
	name    string
	ends    string // of names, without the dot
	aliases string // other names of its type
	taken   string // types of other kinds that uploaders take it for
	table   bool   // its lines have the same number of fields
	json    bool   // JSON is a case of it
	markup  bool   // it may begin with elements of HTML
}

var textKinds = [...]textKind{
	{name: "text/javascript", ends: "js mjs cjs es", aliases: "application/javascript application/x-javascript " +
		"application/ecmascript application/x-ecmascript text/ecmascript text/x-ecmascript text/x-javascript text/jscript " +
		"text/livescript text/javascript1.0 text/javascript1.1 text/javascript1.2 text/javascript1.3 text/javascript1.4 " +
		"text/javascript1.5"},
	{name: "text/css", ends: "css"},
	{name: "text/jsx", ends: "jsx"},
	// Operating systems take the end .ts for a video or a translation.
	{name: "text/x-typescript", ends: "ts mts cts tsx", aliases: "application/typescript text/typescript application/x-typescript",
		taken: "video/mp2t video/vnd.dlna.mpeg-tts text/vnd.trolltech.linguist"},
	{name: "text/x-scss", ends: "scss sass"},
	{name: "text/x-less", ends: "less"},
	{name: "text/markdown", ends: "md markdown mkd mdown", markup: true, aliases: "text/x-markdown"},
	{name: "text/x-rst", ends: "rst"},
	{name: "text/asciidoc", ends: "adoc asciidoc", aliases: "text/x-asciidoc"},
	{name: "text/x-tex", ends: "tex latex sty cls", aliases: "application/x-tex application/x-latex text/x-latex"},
	{name: "application/yaml", ends: "yaml yml", json: true, aliases: "application/x-yaml text/yaml text/x-yaml text/vnd.yaml"},
	{name: "application/toml", ends: "toml", aliases: "text/toml text/x-toml application/x-toml"},
	{name: "text/csv", ends: "csv", table: true, aliases: "application/csv text/x-csv text/comma-separated-values " +
		"text/x-comma-separated-values", taken: "application/vnd.ms-excel"}, // where Excel is installed
	{name: "text/tab-separated-values", ends: "tsv tab", table: true, aliases: "text/tsv text/x-tsv"},
	{name: "application/sql", ends: "sql", aliases: "text/sql text/x-sql application/x-sql"},
	{name: "text/x-diff", ends: "diff patch", aliases: "text/x-patch"},
	{name: "text/x-shellscript", ends: "sh bash zsh ksh", aliases: "application/x-sh application/x-shellscript text/x-sh"},
	{name: "text/x-python", ends: "py pyw pyi", aliases: "application/x-python text/x-script.python application/x-python-code"},
	{name: "text/x-ruby", ends: "rb", aliases: "application/x-ruby"},
	{name: "text/x-perl", ends: "pl pm", aliases: "application/x-perl"},
	{name: "text/x-lua", ends: "lua", aliases: "application/x-lua"},
	{name: "text/x-tcl", ends: "tcl", aliases: "application/x-tcl"},
	{name: "text/x-php", ends: "php phtml", aliases: "application/x-php application/x-httpd-php"},
	{name: "text/x-go", ends: "go", aliases: "text/x-go-source"},
	{name: "text/x-rust", ends: "rs", aliases: "text/rust"},
	{name: "text/x-c", ends: "c h", aliases: "text/x-csrc text/x-chdr"},
	{name: "text/x-c++", ends: "cc cpp cxx c++ hh hpp hxx h++", aliases: "text/x-c++src text/x-c++hdr"},
	{name: "text/x-java", ends: "java", aliases: "text/x-java-source"},
	{name: "text/x-kotlin", ends: "kt kts"},
	{name: "text/x-csharp", ends: "cs"},
	{name: "text/x-swift", ends: "swift"},
}

// otherNames are names of types that mimetype does not know.
var otherNames = [...]struct{ name, aliases string }{
	{"image/jpeg", "image/jpg image/pjpeg"},
	{"image/png", "image/x-png"},
	{"image/x-icon", "image/vnd.microsoft.icon image/ico"},
	{"audio/flac", "audio/x-flac"},
	{"audio/x-m4a", "audio/mp4 audio/m4a"}, // mimetype tells them apart by brand
	{"audio/aac", "audio/x-aac audio/aacp"},
	{"application/json", "text/json application/x-json"},
	{"application/x-ndjson", "application/ndjson application/jsonl application/jsonlines application/x-jsonlines application/x-jsonl"},
	{"application/vnd.microsoft.portable-executable", "application/x-msdownload application/x-msdos-program application/x-dosexec " +
		"application/exe application/x-exe"},
}

// findText returns the kind of text whose type is t.
func findText(t string) *textKind {
	for i := range textKinds {
		if textKinds[i].name == t {
			return &textKinds[i]
		}
	}
	return nil
}

// extension returns the end of a name from its last dot, in lower case.
func extension(name string) string { return strings.ToLower(path.Ext(name)) }

// textByName returns the kind of text that a name's extension stands for.
func textByName(name string) *textKind {
	ext := strings.TrimPrefix(extension(name), ".")
	for i := range textKinds {
		if hasWord(textKinds[i].ends, ext) {
			return &textKinds[i]
		}
	}
	return nil
}

// typeOfText returns the type of the kind of text that a name's extension stands
// for, or text/plain.
func typeOfText(name string) string {
	if t := textByName(name); t != nil {
		return t.name
	}
	return plain
}

func hasWord(words, word string) bool { return slices.Contains(strings.Fields(words), word) }

// Canonical returns the name by which a type is recorded. Many types have others:
// application/xml, audio/mp3.
func Canonical(t string) string {
	for i := range textKinds {
		if hasWord(textKinds[i].aliases, t) {
			return textKinds[i].name
		}
	}
	for _, o := range otherNames {
		if hasWord(o.aliases, t) {
			return o.name
		}
	}
	if m := mimetype.Lookup(t); m != nil {
		return typeOf(m)
	}
	return t
}

// isTakenFor reports types that uploaders may declare for a kind of text.
func (k Kind) isTakenFor(declared string) bool {
	t := findText(k.Type)
	return t != nil && hasWord(t.taken, declared)
}

// TypeByName returns the type that a name's extension stands for, "" if it says
// nothing.
func TypeByName(name string) string {
	if t := textByName(name); t != nil {
		return t.name
	}
	return StripParameters(mime.TypeByExtension(extension(name)))
}

// isMadeOf reports a type that is not known here, and whose content looks like
// what it is made of: by its suffix (RFC 6839), or as documents that are archives.
func isMadeOf(said string, found *mimetype.MIME) bool {
	for m := found; m != nil; m = m.Parent() {
		switch typeOf(m) {
		case "application/json":
			return strings.HasSuffix(said, "+json")
		case "text/xml":
			return strings.HasSuffix(said, "+xml")
		case "application/zip", "application/x-ole-storage", "application/gzip", "application/x-bzip2", "application/x-xz", "application/zstd":
			return strings.HasSuffix(said, "+zip") || strings.HasPrefix(said, "application/")
		}
	}
	return false
}

// Recorded returns the kind of stored content whose type was found to be t.
func Recorded(t string) Kind {
	k := Kind{Type: t, content: mimetype.Lookup(t)}
	if k.content == nil {
		k.content = mimetype.Lookup(unknown)
		if findText(t) != nil {
			k.content = mimetype.Lookup(plain)
		}
	}
	return k
}

// StripParameters returns a media type without parameters, in lower case.
func StripParameters(t string) string {
	if parsed, _, err := mime.ParseMediaType(t); err == nil {
		return parsed
	}
	return t
}

// typeOf returns the type of m without parameters.
func typeOf(m *mimetype.MIME) string {
	t, _, _ := strings.Cut(m.String(), ";")
	return t
}

// contentType is the type that the content alone shows.
func (k Kind) contentType() string { return typeOf(k.content) }

// IsOneOf reports whether one of types, which may be ranges such as image/*,
// covers the kind or what the content alone shows. Kinds of text that only a name
// or a first line tells are text/plain too.
func (k Kind) IsOneOf(types []string) bool {
	seen := []string{k.Type, k.contentType()}
	if findText(k.contentType()) != nil {
		seen = append(seen, plain)
	}
	return slices.ContainsFunc(types, func(t string) bool {
		return slices.ContainsFunc(seen, func(s string) bool { return Covers(t, s) }) || slices.Contains(seen, Canonical(t))
	})
}

// Covers reports whether a media type, or a range of them such as image/*,
// covers another.
func Covers(t, mediaType string) bool {
	if t == "*/*" || t == mediaType {
		return true
	}
	family, wild := strings.CutSuffix(t, "*")
	return wild && strings.HasPrefix(mediaType, family)
}

// AgreesWithDeclared reports whether the content may be what its uploader has
// declared. application/octet-stream declares nothing.
func (k Kind) AgreesWithDeclared(declared string) bool {
	declared = StripParameters(declared)
	return declared == "" || declared == unknown || k.mayBe(declared) || k.mayBe(Canonical(declared)) || k.isTakenFor(declared)
}

// AgreesWithName reports whether the content may be what the name's extension
// stands for.
func (k Kind) AgreesWithName(name string) bool {
	said := TypeByName(name)
	return said == "" || said == unknown || extension(name) == k.content.Extension() || k.mayBe(said)
}

// mayBe reports whether said is the kind, one that it is a kind of, or a kind of
// it that cannot be told from its first bytes.
func (k Kind) mayBe(said string) bool {
	switch {
	case said == k.Type:
		return true
	case k.Type == "image/heif" && (said == "image/heic" || said == "image/avif"), k.Type == "image/heic" && said == "image/heif":
		return true // one container, whose first brand need not say which codec it has
	case findText(said) == nil:
		return isKindOf(said, k.content)
	case k.Type != k.contentType():
		return false // the name says which kind of text it is
	}
	return k.content.Is(plain) || findText(k.contentType()) != nil
}

func isKindOf(said string, found *mimetype.MIME) bool {
	for m := found; m != nil; m = m.Parent() {
		if m.Is(said) && !m.Is(unknown) {
			return true
		}
	}
	known := mimetype.Lookup(said)
	if known == nil {
		return found.Is(plain) && strings.HasPrefix(said, "text/") || found.Is(unknown) || isMadeOf(said, found)
	}
	// Text of a kind that has no mark of its own may look like plain text.
	for m := known.Parent(); m != nil; m = m.Parent() {
		if m.Is(found.String()) && found.Is(plain) {
			return true
		}
	}
	return false
}
