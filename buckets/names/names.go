// Package names says how files and folders may be called.
package names

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	// MaxName is how many bytes a name may have, as in most filesystems.
	MaxName = 255
	// maxFolder is how many bytes a folder may have.
	maxFolder = 1024
)

// FolderMarker is the name of an empty file that stands for the folder in which it
// lies: it keeps a folder in which nothing else lies, and its metadata is that of the
// folder. Listings leave such files out unless they are asked for them. A file of this
// name that is not empty is like any other.
const FolderMarker = ".cairn-folder"

// IsFolderMarker reports whether a file of this path and size is a marker.
func IsFolderMarker(filePath string, size int64) bool {
	return size == 0 && path.Base(filePath) == FolderMarker
}

// ErrName reports a name or folder that no file can have.
var ErrName = errors.New("name is not allowed")

// Clean returns a file's name in its canonical form (NFC), or ErrName.
func Clean(name string) (string, error) {
	n := norm.NFC.String(name)
	if why := badElement(n); why != "" {
		return "", fmt.Errorf("name %q %s: %w", Clip(name), why, ErrName)
	}
	return n, nil
}

// CleanFolder returns a folder in its canonical form: elements joined by '/',
// without a slash at either end.
func CleanFolder(folder string) (string, error) {
	f := norm.NFC.String(strings.Trim(folder, "/"))
	if f == "" {
		return "", nil
	}
	if len(f) > maxFolder {
		return "", fmt.Errorf("folder %q is longer than %d bytes: %w", Clip(folder), maxFolder, ErrName)
	}
	for e := range strings.SplitSeq(f, "/") {
		if why := badElement(e); why != "" {
			return "", fmt.Errorf("folder %q: element %q %s: %w", Clip(folder), Clip(e), why, ErrName)
		}
	}
	return f, nil
}

// CanonicalPath returns a path, or the beginning of one, in the form in which
// paths are stored, for look-ups. What no file can be called stays so, and is not
// found.
func CanonicalPath(path string) string { return norm.NFC.String(path) }

// A CaseFolder makes those names equal that differ in case alone, by the default
// case folding of Unicode: "STRASSE" and "Straße" become the same. It is for one
// goroutine.
type CaseFolder struct{ caser cases.Caser }

// NewCaseFolder returns a CaseFolder.
func NewCaseFolder() *CaseFolder { return &CaseFolder{cases.Fold()} }

// Fold returns a name without its case, in NFC.
func (f *CaseFolder) Fold(name string) string {
	return norm.NFC.String(f.caser.String(norm.NFC.String(name)))
}

// badElement says what is wrong with one element of a path, or returns "".
func badElement(e string) string {
	switch {
	case e == "":
		return "is empty"
	case e == "." || e == "..":
		return "is not a name"
	case len(e) > MaxName:
		return fmt.Sprintf("is longer than %d bytes", MaxName)
	case !utf8.ValidString(e):
		return "is not valid UTF-8"
	}
	if why := findBadChar(e); why != "" {
		return why
	}
	if splitsLatin(e) {
		return "contains a mark of direction between letters that run from left to right"
	}
	// HFS+ passes over such characters: for it they are "" and the like.
	switch stripUnseen(e) {
	case "", ".", "..":
		return "has nothing that can be seen"
	}
	return ""
}

// Clip shortens s, which a client has sent, for an error message.
func Clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// Numbered returns name with a number before its extension: "report (2).pdf".
func Numbered(name string, n int) string {
	ext := path.Ext(name)
	if ext == name {
		ext = ""
	}
	suffix := fmt.Sprintf(" (%d)", n)
	base := strings.TrimSuffix(name, ext)
	if over := len(base) + len(suffix) + len(ext) - MaxName; over > 0 {
		if over >= len(base) {
			base, ext = name, ""
			over = len(base) + len(suffix) - MaxName
		}
		base = base[:max(0, len(base)-over)]
		for !utf8.ValidString(base) {
			base = base[:len(base)-1]
		}
	}
	return base + suffix + ext
}

// Join returns the path of a file: folder and name joined by '/'.
func Join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}
