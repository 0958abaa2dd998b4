package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// Pages of a listing, read by cursor while files on them and beside them are
// renamed, moved, trashed and purged, list every file that was there all the
// time just once.
func TestPagesSkipNothing(t *testing.T) {
	w := newWorld(t)
	still, onPage := make(map[string]int), make(map[string]bool)
	var beside []*client.File
	for i := range 60 {
		f := w.put(fmt.Sprintf("f%02d", i), []byte("x"))
		switch i % 3 {
		case 0:
			still[f.ID] = 0
		case 1:
			onPage[f.ID] = true
		case 2:
			beside = append(beside, f)
		}
	}
	change := func(f *client.File, n int) {
		var err error
		switch n % 5 {
		case 0:
			_, err = w.c.Update(t.Context(), "demo", f.ID, map[string]any{"name": "zz" + f.Name})
		case 1:
			_, err = w.c.Update(t.Context(), "demo", f.ID, map[string]any{"name": "a" + f.Name})
		case 2:
			_, err = w.c.Update(t.Context(), "demo", f.ID, map[string]any{"folder": "elsewhere"})
		case 3:
			err = w.c.Delete(t.Context(), "demo", f.ID)
		case 4:
			err = w.c.Purge(t.Context(), "demo", f.ID)
		}
		if err != nil {
			t.Errorf("change %d of %s: %v", n%5, f.Name, err)
		}
	}
	var changes sync.WaitGroup
	changes.Go(func() {
		for n, f := range beside {
			change(f, n)
		}
	})
	for cursor, pages := "", 0; ; pages++ {
		var page struct {
			Files      []*client.File `json:"files"`
			NextCursor string         `json:"next_cursor"`
		}
		a := w.want(200, "", "GET", "/api/files/demo?limit=4&cursor="+url.QueryEscape(cursor), nil)
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		for n, f := range page.Files {
			if _, ok := still[f.ID]; ok {
				still[f.ID]++
			} else if onPage[f.ID] {
				delete(onPage, f.ID)
				change(f, pages+n)
			}
		}
		if page.NextCursor == "" {
			break
		}
		cursor = page.NextCursor
	}
	changes.Wait()
	if len(onPage) > 0 {
		t.Errorf("%d files that were to be changed were not listed", len(onPage))
	}
	for id, n := range still {
		if n != 1 {
			t.Errorf("file %s: listed %d times, want 1", id, n)
		}
	}
}
