package buckets

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A sortKey is what an entry is ordered by, where no index has the order.
type sortKey struct {
	Rank int    // folders come before files
	N    int64  // a time or a size
	Text string // a path
	ID   string
}

// A keyedEntry is an entry with its key.
type keyedEntry struct {
	entry
	key sortKey
}

// compare compares two keys of one order.
func (k *sortKey) compare(other *sortKey, desc bool) int {
	if k.Rank != other.Rank {
		return k.Rank - other.Rank
	}
	c := cmp.Or(cmp.Compare(k.N, other.N), strings.Compare(k.Text, other.Text), strings.Compare(k.ID, other.ID))
	if desc && k.Rank > 0 {
		return -c
	}
	return c
}

func (k *sortKey) String() string {
	p, _ := json.Marshal(k) // it holds nothing that JSON cannot
	return string(p)
}

func parseSortKey(text string) (*sortKey, error) {
	k := new(sortKey)
	if err := json.Unmarshal([]byte(text), k); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	return k, nil
}

// keyOf returns the key of an entry.
func (p *pager) keyOf(e entry) sortKey {
	byName := p.by == OrderName
	switch {
	case e.Listed == nil && byName:
		return sortKey{Rank: 1, Text: e.folder + "/"}
	case e.Listed == nil:
		return sortKey{Text: e.folder}
	}
	k := sortKey{Rank: 1, ID: string(e.File.ID)}
	switch p.by {
	case OrderName:
		k.Text = e.File.Path()
	case OrderCreated:
		k.N = e.File.CreatedAt.UnixMilli()
	case OrderUpdated:
		k.N = e.File.UpdatedAt.UnixMilli()
	case OrderSize:
		k.N = e.Current.Size
	}
	return k
}

// eachSorted calls fn for every entry of a listing that is to be sorted, in no
// order, and returns how many there are.
func (p *pager) eachSorted(ctx context.Context, fn func(e entry, k sortKey)) (n int, err error) {
	for e, err := range p.eachEntry(ctx, false) {
		if err != nil {
			return 0, err
		}
		if n++; n > maxCounted {
			return 0, p.tooMany()
		}
		fn(e, p.keyOf(e))
	}
	if p.cut {
		return 0, p.tooMany()
	}
	return n, nil
}

func (p *pager) tooMany() error {
	return fmt.Errorf("order %s is of at most %d files, and %d looked at: narrow it down by folder, prefix, search or mime_type, or order by name: %w",
		p.by, maxCounted, maxScanned, ErrListTooLong)
}

// keyAt returns the key of the nth entry, or of the last if there are fewer. It
// keeps keys alone, as many files may be left out.
func (p *pager) keyAt(ctx context.Context, n int) (*sortKey, error) {
	var keys []sortKey
	_, err := p.eachSorted(ctx, func(_ entry, k sortKey) { keys = append(keys, k) })
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	slices.SortFunc(keys, func(a, b sortKey) int { return a.compare(&b, p.desc) })
	return &keys[min(n, len(keys))-1], nil
}
