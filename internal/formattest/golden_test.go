package formattest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
)

// goldenTags are what the first words of the names of golden files say that they hold.
var goldenTags = map[string]byte{
	"manifest": 'M', "file": 'F', "home": 'H', "slot": 'R', "segment": 'S',
	"upload": 'U', "grant": 'G', "apikey": 'K', "signkey": 'Y', "once": 'O',
	"grave": 'D', "charge": 'C', "freed": 'L', "scrubbed": 'B', "point": 'P',
	"link": 'J', "host": 'V',
}

// TestGoldenFiles reads every example of the pages. One of a name that they do not tell fails.
// Databases are Pebble's: no page of ours tells their format.
func TestGoldenFiles(t *testing.T) {
	count := map[string]int{}
	for _, dir := range []string{"../../cas", "../../manifest"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if d != nil && d.Name() == "pebblestore" {
				return filepath.SkipDir
			}
			if err != nil || d.IsDir() || !strings.Contains(filepath.ToSlash(path), "/testdata/") {
				return err
			}
			count[filepath.Ext(path)]++
			t.Run(d.Name(), func(t *testing.T) { readGolden(t, path) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count[".pack"] == 0 || count[".golden"] == 0 || count[".txt"] == 0 {
		t.Errorf("golden files are %v", count)
	}
}

func readGolden(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name, ext, _ := strings.Cut(filepath.Base(path), ".")
	switch {
	case ext == "pack":
		readGoldenPack(t, name, data)
	case ext == "golden":
		readGoldenEnvelope(t, name, data)
	case name+"."+ext == "roots.txt":
		readGoldenRoots(t, string(data))
	default:
		t.Error("the pages tell of no such golden file")
	}
}

// readGoldenPack reads a pack whose slots hold what the page says: text, but for chunks.
func readGoldenPack(t *testing.T, name string, data []byte) {
	h, err := parsePackHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPack(h.pack, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.verify(); err != nil {
		t.Fatal(err)
	}
	if p.sealed != (name == "sealed") {
		t.Errorf("sealed is %v", p.sealed)
	}
	if p.store != (id16{'s'}) || p.domain != (id16{'d'}) {
		t.Errorf("store %x, domain %x", p.store, p.domain)
	}
	codecs, texts := map[byte]int{}, map[byte]string{}
	for _, f := range p.frames {
		codecs[f.codec]++
		if f.kind != kindData {
			texts[f.kind] += string(f.slots[0].plain)
		}
		if f.kind == kindRecords && (f.first != 7 || f.last != 7 || f.base != 0) {
			t.Errorf("records of commits %d to %d, base %d", f.first, f.last, f.base)
		}
	}
	if len(codecs) != 3 || texts[kindSegments] != "a segment" || texts[kindRecords] != "a record" {
		t.Errorf("codecs %v, texts %q", codecs, texts)
	}
}

func readGoldenEnvelope(t *testing.T, name string, data []byte) {
	b, err := hex.DecodeString(string(bytes.ReplaceAll(data, []byte("\n"), nil)))
	if err != nil {
		t.Fatal(err)
	}
	word, _, _ := strings.Cut(name, "-")
	tag, ok := goldenTags[word]
	if !ok {
		t.Fatalf("the page does not tell what %s holds", name)
	}
	switch tag {
	case 'S':
		n, err := parseNode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(n.encode(), b) {
			t.Error("the node encodes to other bytes")
		}
	case 'R':
		_, err = parseRecordSlot(b)
	default:
		_, err = parseRow(b, string(tag))
	}
	if err != nil {
		t.Error(err)
	}
}

// fixedRef is the reference i of the list that roots.txt and the golden segments are made of.
func fixedRef(i int) ref {
	d := digest(blake3.Sum256(binary.BigEndian.AppendUint64([]byte("fixed reference "), uint64(i))))
	return ref{digest: d, length: 1 + uint64(binary.BigEndian.Uint32(d[:4]))%maxChunk}
}

func fixedList(n int) []ref {
	list := make([]ref, n)
	for i := range list {
		list[i] = fixedRef(i)
	}
	return list
}

func readGoldenRoots(t *testing.T, text string) {
	for line := range strings.Lines(text) {
		var chunks, segments int
		var root string
		if _, err := fmt.Sscanf(line, "%d chunks in %d segments: %64s\n", &chunks, &segments, &root); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list, nodes := fixedList(chunks), 0
		if chunks > maxInline {
			_, _, nodes = buildTree(list)
		}
		if got := listRoot(list); hex.EncodeToString(got[:]) != root || nodes != segments {
			t.Errorf("%d chunks are %d segments of root %x, and not %q", chunks, nodes, got, line)
		}
	}
}

// TestGoldenSegments makes the golden segments of their list anew.
func TestGoldenSegments(t *testing.T) {
	list := fixedList(300)
	for range 300 {
		list = append(list, fixedRef(0))
	}
	made := map[digest]bool{}
	top, height, _ := buildTree(list)
	for _, name := range []string{"segment-leaf", "segment-top"} {
		data, err := os.ReadFile(filepath.Join("../../manifest/testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(string(bytes.ReplaceAll(data, []byte("\n"), nil)))
		if err != nil {
			t.Fatal(err)
		}
		made[nodeDigest(b)] = true
		n, err := parseNode(b)
		if err != nil {
			t.Fatal(err)
		}
		if name == "segment-leaf" {
			if last := n.entries[len(n.entries)-1]; n.level != 0 || last.digest != fixedRef(0).digest || last.count != 300 {
				t.Errorf("the leaf ends in %+v", last)
			}
			continue
		}
		if !made[n.entries[len(n.entries)-1].digest] || nodeDigest(b) != top || n.level != height {
			t.Errorf("the top is not the one of the list")
		}
	}
}
