package mediatype

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/gabriel-vasile/mimetype"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// An entry of a zip: n bytes that do not compress, or text if it is compressed.
type entry struct {
	name string
	n    int
	how  int // a way below
}

const (
	deflated  = iota // with a data descriptor behind it, as a stream is written
	stored           // with its length before it
	streamed         // stored with a data descriptor behind it
	large            // stored with its length in a ZIP64 field
	directory        // nothing
)

// archive returns a zip.
func archive(entries ...entry) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i, e := range entries {
		content := fill(uint64(i), e.n)
		var err error
		var to io.Writer
		switch e.how {
		case deflated:
			to, err = w.Create(e.name)
		case directory:
			_, err = w.Create(e.name)
		case streamed:
			to, err = w.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Store})
		default:
			h := &zip.FileHeader{Name: e.name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(content),
				CompressedSize64: uint64(e.n), UncompressedSize64: uint64(e.n)}
			if e.how == large {
				h.Extra = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{1, 0, 16, 0}, uint64(e.n)), uint64(e.n))
			}
			to, err = w.CreateRaw(h)
		}
		if err == nil && to != nil {
			_, err = to.Write(content)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// fill returns n bytes that do not compress and hold no signature.
func fill(seed uint64, n int) []byte {
	p := make([]byte, n)
	x := seed*2 + 1
	for i := range p {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x>>33) | 0x80
	}
	return p
}

// office returns a document whose part list is n bytes, and which names its kind
// in the folder dir.
func office(dir string, n int) []byte {
	return archive(entry{"[Content_Types].xml", n, deflated}, entry{"_rels/.rels", 300, deflated}, entry{dir + "document.xml", 500, deflated})
}

// compound returns an OLE file whose directory, with a stream of that name,
// lies behind n sectors of 512 bytes.
func compound(stream string, n int) []byte {
	head := make([]byte, 512)
	copy(head, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	le := binary.LittleEndian
	le.PutUint16(head[24:], 0x3e)
	le.PutUint16(head[26:], 3)
	le.PutUint16(head[28:], 0xfffe)
	le.PutUint16(head[30:], 9)
	le.PutUint16(head[32:], 6)
	sats := n/128 + 1
	directory := sats + n
	le.PutUint32(head[44:], uint32(sats))
	le.PutUint32(head[48:], uint32(directory))
	le.PutUint32(head[56:], 4096)
	le.PutUint32(head[60:], 0xfffffffe)
	le.PutUint32(head[68:], 0xfffffffe)
	for i := range 109 {
		le.PutUint32(head[76+4*i:], 0xffffffff)
	}
	table := make([]byte, 512*sats)
	for i := range len(table) / 4 {
		next := uint32(0xffffffff)
		switch {
		case i < sats:
			next = 0xfffffffd
		case i == directory, i == directory-1:
			next = 0xfffffffe
		case i < directory:
			next = uint32(i + 1)
		}
		le.PutUint32(table[4*i:], next)
	}
	for i := range sats {
		le.PutUint32(head[76+4*i:], uint32(i))
	}
	out := append(append(head, table...), fill(1, 512*n)...)
	for _, e := range []struct {
		name  string
		kind  byte
		child uint32
	}{{"Root Entry", 5, 1}, {stream, 2, 0xffffffff}, {"", 0, 0xffffffff}, {"", 0, 0xffffffff}} {
		p := make([]byte, 128)
		units := utf16.Encode([]rune(e.name))
		for i, u := range units {
			le.PutUint16(p[2*i:], u)
		}
		le.PutUint16(p[64:], uint16(2*len(units)+2))
		p[66], p[67] = e.kind, 1
		le.PutUint32(p[68:], 0xffffffff)
		le.PutUint32(p[72:], 0xffffffff)
		le.PutUint32(p[76:], e.child)
		out = append(out, p...)
	}
	return out
}

// rows repeats line until there are n bytes, and cuts there.
func rows(line string, n int) string { return strings.Repeat(line, n/len(line)+1)[:n] }

// object returns JSON of n bytes that begins with head and ends with tail.
func object(head string, n int, tail string) string {
	return head + `"pad": "` + strings.Repeat("é", (n-len(head)-len(tail)-9)/2) + strings.Repeat(" ", (n-len(head)-len(tail)-9)%2) + `"` + tail
}

// contents are of the kinds whose mark may lie far from their beginning, or that
// are valid only as a whole, and some others. A line more is a case more.
func contents() map[string]string {
	out := map[string]string{
		"empty": "", "text": "hello", "long text": rows("hello, world\n", 3*mib), "binary": string(fill(9, 2*mib)),
		"text cut in a character": strings.Repeat("a", FirstLook-1) + "é" + strings.Repeat("b", mib),
		"UTF-16 LE":               "\xff\xfea\x00b\x00", "UTF-16 BE": "\xfe\xff\x00a\x00b", "UTF-16 unmarked": "a\x00b\x00c\x00",
		"UTF-8 with a mark": "\xef\xbb\xbfabc",
		"PNG":               "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + string(fill(3, 5000)),
		"JPEG":              "\xff\xd8\xff\xe0\x00\x10JFIF\x00" + string(fill(3, 5000)),
		"GIF":               "GIF89a\x01\x00\x01\x00", "WebP": "RIFF\x24\x00\x00\x00WEBPVP8 ",
		"PDF": "%PDF-1.7\n", "PDF behind junk": "\r\n\r\njunk\x00\x01\n%PDF-1.4\n", "PDF behind much junk": rows("junk ", 1000) + "%PDF-1.4\n",
		"PDF behind too much junk": rows("junk ", 2000) + "%PDF-1.4\n", "PDF behind a mark": "\xef\xbb\xbf%PDF-1.4\n",
		"gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00", "zstd": "\x28\xb5\x2f\xfd\x04\x00", "7z": "7z\xbc\xaf\x27\x1c\x00\x04", "xz": "\xfd7zXZ\x00",
		"WebM":                    "\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01\x42\x82\x84webm",
		"Matroska":                "\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x23\x42\x86\x81\x01\x42\x82\x88matroska",
		"WebM behind a long void": "\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x0f\xff\xec\x4f\xa0" + strings.Repeat("\x00", 3800) + "\x42\x82\x84webm",
		"MP3":                     "ID3\x03\x00\x00\x00\x00\x21\x76" + strings.Repeat("\x00", 5000),
		"Ogg":                     "OggS\x00\x02" + strings.Repeat("\x00", 22) + "\x01vorbis", "WAV": "RIFF\x24\x00\x00\x00WAVEfmt ",
		"WASM": "\x00asm\x01\x00\x00\x00", "ELF": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 100), "EXE": "MZ\x90\x00\x03\x00\x00\x00",
		"SQLite": "SQLite format 3\x00", "TTF": "\x00\x01\x00\x00\x00\x10cmap", "RTF": `{\rtf1\ansi hello}`,
		"HTML": "<!DOCTYPE html><p>", "HTML behind white space": strings.Repeat(" \n", 20*kib) + "<html><head>",
		"HTML behind a comment": "<!-- " + rows("licence ", 20*kib) + " --><html>", "HTML, unknown element": "<main>hello</main>",
		"HTML with a mark": "\xef\xbb\xbf<!DOCTYPE html><p>", "XHTML": `<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">`,
		"XML":                `<?xml version="1.0"?><x/>`,
		"XML, long preamble": `<?xml version="1.0"?><!-- ` + rows("licence ", 20*kib) + ` --><x/>`,
		"RSS":                `<?xml version="1.0"?><rss version="2.0">`, "Atom": `<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom">`,
		"SVG":                   `<svg xmlns="http://www.w3.org/2000/svg"/>`,
		"SVG in XML":            `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`,
		"SVG behind a comment":  "<!-- " + rows("Inkscape ", 20*kib) + ` --><svg xmlns="http://www.w3.org/2000/svg"/>`,
		"SVG, many attributes":  `<svg ` + strings.Repeat(`data-x="yyyyyyyyyyyyyyyyyyyyyyyy" `, 500) + `xmlns="http://www.w3.org/2000/svg"/>`,
		"SVG, XML and comments": `<?xml version="1.0"?>` + strings.Repeat("<!-- comment -->", 200) + `<svg xmlns="http://www.w3.org/2000/svg"/>`,
		"script of node":        "#!/usr/bin/env node\nalert(1)", "script of a shell": "#!/bin/sh\necho", "PHP": "<?php echo 1;",
		"CSV": "a,b\n1,2\n3,4\n", "CSV, ragged late": rows("a,b\n", 20) + "a,b,c\n", "TSV": "a\tb\n1\t2\n",
		"CSV, semicolons": "a;b\n1;2\n", "CSV, rows of 5 KiB": strings.Repeat(rows("cell,", 5*kib)+"\n", 12),
		"CSV, long quoted cell": "a,b\n\"" + rows("text, more\n", 30*kib) + "\",2\n3,4\n", "CSV with a mark": "\xef\xbb\xbfa,b\n1,2\n",
		"CSV, ragged after 8 KiB": strings.Repeat(rows("c,", 3*kib)+"\n", 3) + "a,b\n",
		"NDJSON":                  `{"a":1}` + "\n" + `{"a":2}` + "\n", "NDJSON, long": strings.Repeat(`{"a":"`+rows("x", 200)+`"}`+"\n", 9000),
		"NDJSON, a line of 10 KiB": object("{", 10*kib, "}") + "\n{}\n[1]\n", "NDJSON, damaged late": strings.Repeat("{}\n", 5000) + "{x\n{}\n",
		"JSON, a string": `"abc"`, "JSON with a mark": "\xef\xbb\xbf" + `{"a": 1}`, "JSON, not quite": `{a: 1}`,
		"JSON with comments": "// comment\n{\"a\": 1}", "JSON, then text": `{"a": 1} and more`, "JSON, deep": strings.Repeat("[", 3000) + strings.Repeat("]", 3000),
		"JSON, too deep": strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "JSON of digits": "[" + rows("1234567,", 20*kib) + "1]",
		"GeoJSON": `{"type": "FeatureCollection", "features": []}`, "GeoJSON, type last": object(`{`, 50*kib, `, "type": "FeatureCollection"}`),
		"HAR": `{"log": {"version": "1.2", "entries": []}}`, "HAR, long": object(`{"log": {"version": "1.2", `, 200*kib, `}}`),
		"glTF, asset last": object(`{`, 20*kib, `, "asset": {"version": "2.0"}}`), "CycloneDX, late": object(`{`, 20*kib, `, "bomFormat": "CycloneDX"}`),
		"JSON cut short": object(`{`, 50*kib, `}`)[:20*kib], "JSON damaged at its end": object(`{`, 50*kib, `]`),
		"mail": "From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\n\r\n", "subtitles": "WEBVTT\n\n", "calendar": "BEGIN:VCALENDAR\n",

		"ustar": tarOf("a.txt"), "zip, empty": "PK\x05\x06" + strings.Repeat("\x00", 18),
		"zip":                      string(archive(entry{"a.txt", 10, deflated})),
		"zip of many":              string(archive(manyEntries(200)...)),
		"zip, larger than a head":  string(archive(entry{"a.bin", 3 * mib, stored}, entry{"word/document.xml", 10, deflated})),
		"docx, thumbnail first":    string(archive(entry{"docProps/thumbnail.jpeg", 300 * kib, stored}, entry{"[Content_Types].xml", 900, deflated}, entry{"word/document.xml", 10, deflated})),
		"docx, image first":        string(archive(entry{"word/media/image1.png", 90 * kib, stored}, entry{"[Content_Types].xml", 900, deflated})),
		"docx, customXml first":    string(archive(entry{"customXml/item1.xml", 50 * kib, deflated}, entry{"word/document.xml", 10, deflated})),
		"docx, sizes behind":       string(archive(entry{"[Content_Types].xml", 9000, streamed}, entry{"word/document.xml", 10, streamed})),
		"docx, ZIP64":              string(archive(entry{"[Content_Types].xml", 9000, large}, entry{"word/document.xml", 10, large})),
		"docx, folders":            string(archive(entry{"_rels/", 0, directory}, entry{"[Content_Types].xml", 9000, deflated}, entry{"word/", 0, directory})),
		"docx, kind past the head": string(archive(entry{"[Content_Types].xml", 2 * mib, stored}, entry{"word/document.xml", 10, deflated})),
		"xlsx, many relations":     string(archive(entry{"[Content_Types].xml", 30 * kib, deflated}, entry{"_rels/.rels", 30 * kib, deflated}, entry{"xl/workbook.xml", 9, deflated})),
		"visio":                    string(office("visio/", 9000)),
		"jar":                      string(archive(entry{"META-INF/", 0, directory}, entry{"META-INF/MANIFEST.MF", 60, deflated})),
		"jar, manifest later":      string(archive(entry{"com/example/A.class", 9000, deflated}, entry{"META-INF/MANIFEST.MF", 60, deflated})),
		"apk":                      string(archive(entry{"META-INF/x", 9000, deflated}, entry{"AndroidManifest.xml", 60, deflated})),
		"kmz":                      string(archive(entry{"files/icon.png", 9000, stored}, entry{"doc.kml", 60, deflated})),
	}
	for _, n := range []int{900, 3 * kib, 4100, 4600, 20 * kib, 700 * kib} {
		for kind, dir := range map[string]string{"docx": "word/", "pptx": "ppt/", "xlsx": "xl/"} {
			out[fmt.Sprintf("%s, part list of %d", kind, n)] = string(office(dir, n))
		}
	}
	for _, n := range []int{17, 3071, 3072, 3073, 4095, 4096, 4097, 8192, 100 * kib, mib - 1, mib, mib + 1, 5 * mib} {
		out[fmt.Sprintf("JSON of %d", n)] = object(`{`, n, `}`)
		out[fmt.Sprintf("JSON list of %d", n)] = "[" + rows("1,", n-3) + "1]"
		out[fmt.Sprintf("text like JSON of %d", n)] = object(`{`, n, `]`)
	}
	for kind, stream := range map[string]string{"doc": "WordDocument", "xls": "Workbook", "ppt": "PowerPoint Document",
		"msg": "__properties_version1.0", "other": "Contents"} {
		for _, n := range []int{0, 20, 1000} {
			out[fmt.Sprintf("OLE, %s behind %d sectors", kind, n)] = string(compound(stream, n))
		}
	}
	for _, format := range []string{"text", "epub+zip", "vnd.oasis.opendocument.text", "vnd.oasis.opendocument.spreadsheet", "vnd.oasis.opendocument.presentation"} {
		out["zip, mimetype "+format] = string(archive(entry{"mimetype", 0, stored})[:38]) + "application/" + format + string(archive(entry{"content.xml", 9000, deflated}))
	}
	for _, brand := range []string{"isom", "mp42", "avc1", "qt  ", "M4A ", "M4V ", "heic", "mif1", "avif", "3gp5", "dash", "\x00\x00\x00\x00"} {
		out["MP4 of brand "+brand] = "\x00\x00\x00\x18ftyp" + brand + "\x00\x00\x00\x00isomiso2"
	}
	return out
}

func manyEntries(n int) (out []entry) {
	for i := range n {
		out = append(out, entry{fmt.Sprintf("folder/%d.txt", i), 50, deflated})
	}
	return append(out, entry{"word/document.xml", 10, deflated})
}

// tarOf returns the first header of a tar.
func tarOf(name string) string {
	h := make([]byte, 1024)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[257:], "ustar\x0000")
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h[:512] {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(h)
}

// findByLibrary is what mimetype finds when the whole process is told to look at
// a head, or at the whole if that is shorter.
func findByLibrary(content string) string {
	limit := uint32(HeadBytes)
	if len(content) < HeadBytes {
		limit = 0
	}
	mimetype.SetLimit(limit)
	defer mimetype.SetLimit(FirstLook)
	return StripParameters(mimetype.Detect([]byte(content)).String())
}

// What is found is what the library finds in the whole, or in 1 MiB of it, in
// however small pieces the content comes.
func TestAsTheLibraryInTheWhole(t *testing.T) {
	d := NewDetector()
	if d.root == nil {
		t.Fatal("the library's tree could not be read: heads are looked at up to its own limit only")
	}
	told := map[string]bool{}
	for name, content := range contents() {
		t.Run(name, func(t *testing.T) {
			want := findByLibrary(content)
			told[want] = true
			k, whole, err := d.ReadHead("", strings.NewReader(content))
			if err != nil || k.Type != want {
				t.Errorf("%s, want %s, %v", k.Type, want, err)
			}
			if got, err := io.ReadAll(whole); err != nil || string(got) != content {
				t.Errorf("%d bytes of %d are left, %v", len(got), len(content), err)
			}
			if len(content) < 10*kib {
				if k, _, _ := d.ReadHead("", iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(content)))); k.Type != want {
					t.Errorf("byte by byte: %s, want %s", k.Type, want)
				}
			}
			// A type that is settled early is the one that the whole has, and
			// else is among those that the beginning may become.
			for _, n := range []int{FirstLook, 100 * kib} {
				n = min(n, len(content))
				k, settled := d.Find("", []byte(content[:n]), n == len(content))
				if settled && k.Type != want {
					t.Errorf("settled on %s, want %s", k.Type, want)
				}
				if may := d.MayBecome("", []byte(content[:n])); !settled && !slices.Contains(may, want) {
					t.Errorf("%d bytes may become %q, want %s", n, may, want)
				}
			}
		})
	}
	if len(told) < 50 {
		t.Errorf("the table has %d types only", len(told))
	}
}

// The kinds of the table that matter most, by name, so that an oracle that
// errs does not hide it.
func TestFoundInAHead(t *testing.T) {
	const officeType = "application/vnd.openxmlformats-officedocument."
	d, all := NewDetector(), contents()
	for name, want := range map[string]string{
		"JSON of 3073": "application/json", "JSON of 4095": "application/json", "JSON of 4096": "application/json", "JSON of 5242880": "application/json",
		"JSON list of 1048577": "application/json", "text like JSON of 8192": plain, "JSON cut short": plain, "JSON with a mark": plain,
		"GeoJSON, type last": "application/geo+json", "NDJSON, a line of 10 KiB": "application/x-ndjson", "CSV, rows of 5 KiB": "text/csv",
		"pptx, part list of 4600": officeType + "presentationml.presentation", "docx, thumbnail first": officeType + "wordprocessingml.document",
		"docx, sizes behind": officeType + "wordprocessingml.document", "docx, ZIP64": officeType + "wordprocessingml.document",
		"xlsx, part list of 716800": officeType + "spreadsheetml.sheet", "docx, kind past the head": "application/zip",
		"OLE, doc behind 1000 sectors": "application/msword", "OLE, xls behind 20 sectors": "application/vnd.ms-excel",
		"zip, mimetype epub+zip": "application/epub+zip", "zip, mimetype vnd.oasis.opendocument.text": "application/vnd.oasis.opendocument.text",
		"apk": "application/vnd.android.package-archive", "SVG behind a comment": "image/svg+xml", "HTML behind white space": "text/html",
		"empty": plain, "text cut in a character": plain, "UTF-16 LE": plain, "UTF-16 unmarked": unknown, "ustar": "application/x-tar",
	} {
		content, ok := all[name]
		if k, _, err := d.ReadHead("", strings.NewReader(content)); !ok || err != nil || k.Type != want {
			t.Errorf("%s: %s, want %s, %v", name, k.Type, want, err)
		}
	}
}

// A stream that fails in its head is not taken for a shorter one.
func TestHeadCutOff(t *testing.T) {
	broken := errors.New("broken off")
	for _, n := range []int{0, 1, FirstLook - 1, FirstLook, 100 * kib} {
		r := io.MultiReader(strings.NewReader(strings.Repeat("x", n)), iotest.ErrReader(broken))
		if _, _, err := NewDetector().ReadHead("", r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// Where the library keeps its tree otherwise, its own limit holds.
func TestUnknownTree(t *testing.T) {
	d := &Detector{}
	for content, want := range map[string]string{"%PDF-1.7\n": "application/pdf", object("{", 9000, "}"): "application/json"} {
		if k, _, err := d.ReadHead("", strings.NewReader(content)); err != nil || k.Type != want {
			t.Errorf("%.10q: %s, want %s, %v", content, k.Type, want, err)
		}
	}
	if _, ok := fieldOf[int](mimetype.Lookup(unknown), "detector"); ok {
		t.Error("a field of another type is read")
	}
	if _, ok := fieldOf[[]*mimetype.MIME](mimetype.Lookup(unknown), "nodes"); ok {
		t.Error("a field that is not there is read")
	}
}
