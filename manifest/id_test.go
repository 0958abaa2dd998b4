package manifest_test

import (
	"testing"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func TestIDsSortByTime(t *testing.T) {
	var last manifest.FileID
	for range 3 {
		id := manifest.NewFileID()
		if id <= last {
			t.Errorf("%s was made after %s", id, last)
		}
		last = id
		time.Sleep(2 * time.Millisecond)
	}
}

func TestIDsAreUniqueAndWellFormed(t *testing.T) {
	files, versions := make(map[manifest.FileID]bool), make(map[manifest.VersionID]bool)
	for range 1000 {
		f, v := manifest.NewFileID(), manifest.NewVersionID()
		if files[f] || versions[v] {
			t.Fatalf("%s or %s was made twice", f, v)
		}
		files[f], versions[v] = true, true
		if _, ok := manifest.ParseFileID(string(f)); !ok {
			t.Errorf("%s is not a file's ID", f)
		}
		if _, ok := manifest.ParseVersionID(string(v)); !ok {
			t.Errorf("%s is not a version's ID", v)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	id := string(fixedFile)
	for _, s := range []string{"", "f_", string(fixedVersion), id[:37], id + "0", id[:37] + "1", id[:37] + "G",
		id[:37] + "w", id[:37] + "\n", id[:36] + "\r\n", "F" + id[1:]} {
		if _, ok := manifest.ParseFileID(s); ok {
			t.Errorf("%q is taken for a file's ID", s)
		}
	}
	if _, ok := manifest.ParseVersionID(id); ok {
		t.Errorf("%q is taken for a version's ID", id)
	}
}

// A file may keep the UUID that it had elsewhere, in one form only.
func TestParseUUID(t *testing.T) {
	id := string(fixedUUID)
	if _, ok := manifest.ParseFileID(id); !ok {
		t.Errorf("%q is not taken", id)
	}
	for _, s := range []string{id[:35], id + "0", "0123ABCD" + id[8:], "0123abcd4-567" + id[13:], "{" + id[1:35] + "}",
		"0123abcg" + id[8:], id[:35] + "-", "-" + id[1:], "f_" + id} {
		if _, ok := manifest.ParseFileID(s); ok {
			t.Errorf("%q is taken for a file's ID", s)
		}
	}
	_, version := manifest.ParseVersionID(id)
	_, upload := manifest.ParseUploadID(id)
	_, grant := manifest.ParseGrantID(id)
	if version || upload || grant {
		t.Errorf("%q is taken for another ID", id)
	}
}
