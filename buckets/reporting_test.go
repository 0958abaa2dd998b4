package buckets_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
)

// Of a store that takes no changes all is reported, and nothing is noted.
func TestReportsOfReadOnly(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, nil)
	must(t, err)
	put(t, bucket(t, s, "demo"), "a", "content", nil)
	must(t, s.Close())
	s = openDir(t, dir, &local.Options{ReadOnly: errors.New("for a test")})
	d, err := s.ReportDedup(t.Context(), nil)
	if err != nil || d.LogicalBytes != 7 || len(d.Points) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if f, err := s.ReportFragmentation(t.Context(), nil); err != nil || f.Files != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	if u, err := s.ReportUsage(t.Context(), nil); err != nil || u.Files.Files != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}
