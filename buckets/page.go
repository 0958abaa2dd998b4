package buckets

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// An Order is what the files of a page are ordered by; with a minus sign from
// the last to the first.
type Order string

// Files that are equal by these come in order of their IDs. Folders come first,
// in byte order; in an order by name they stand where their paths with a slash
// do.
const (
	OrderName    Order = "name"    // byte order of paths
	OrderCreated Order = "created" // time of creation
	OrderUpdated Order = "updated" // time of the last change
	OrderSize    Order = "size"    // of the current version
)

// Orders returns every order.
func Orders() (all []Order) {
	for _, o := range []Order{OrderName, OrderCreated, OrderUpdated, OrderSize} {
		all = append(all, o, "-"+o)
	}
	return all
}

const (
	// maxCounted is how far listings are counted, and how many files an order
	// without an index can have.
	maxCounted = 10_000
	maxPage    = 1000 // entries of a page
)

// PageOptions choose, order and page what ListPage returns. Limit is at most
// 1000, and that if it is 0.
type PageOptions struct {
	ListOptions
	// Folders puts a folder in place of all files that lie in it: behind Folder
	// if that is given, else behind Prefix.
	Folders bool
	// Order "" is by name, of files that are not active by ID.
	Order Order
	// After is the Next of the page before, of the same listing.
	After string
	// Offset leaves out so many entries, of the first 10000.
	Offset int
	// Count asks for the total. A page behind a cursor has none.
	Count bool
}

// A Page is a part of a listing. It may be short, or empty, though more pages
// follow: where few of very many files are shown.
type Page struct {
	Files   []*File
	Folders []string // their paths
	// Next is the cursor of the next page, "" where there is none.
	Next string
	// Total is how many files and folders all pages have together. AtLeast says
	// that there may be more: beyond 10000 they are not counted.
	Total   int
	AtLeast bool
}

// ListPage returns a page of the files that opts choose and the list rule
// allows. A file that keeps its path, its state and what it is ordered by is on
// one page of a listing, whatever happens to others between pages. An order by
// time or size, and any of files that are not active, is of at most 10000 files,
// else ErrListTooLong.
func (b *Bucket) ListPage(ctx context.Context, opts *PageOptions) (*Page, error) {
	if opts == nil {
		opts = &PageOptions{}
	}
	s, err := b.newScan(ctx, &opts.ListOptions, opts.Folders)
	if err != nil {
		return nil, err
	}
	if opts.Order != "" && !slices.Contains(Orders(), opts.Order) {
		return nil, fmt.Errorf("order %q: use one of %v: %w", names.Clip(string(opts.Order)), Orders(), fs.ErrInvalid)
	}
	if opts.Limit < 0 || opts.Limit > maxPage || opts.Offset < 0 || opts.Offset > 0 && opts.After != "" {
		return nil, fmt.Errorf("limit %d, offset %d: use at most %d, and no offset with a cursor: %w", opts.Limit, opts.Offset, maxPage, fs.ErrInvalid)
	}
	by, desc := Order(strings.TrimPrefix(string(opts.Order), "-")), strings.HasPrefix(string(opts.Order), "-")
	active := s.state == manifest.Active
	if by == "" && (active || opts.Folders) {
		by = OrderName
	}
	p := &pager{scan: s, by: by, desc: desc, limit: cmp.Or(opts.Limit, maxPage), offset: opts.Offset, counts: opts.Count && opts.After == "", page: &Page{}}
	if p.seal, err = s.newSeal(ctx, by, desc, opts); err != nil {
		return nil, err
	}
	if by == "" || by == OrderName && active {
		s.reverse = desc
		err = p.readByIndex(ctx, opts.After)
	} else {
		err = p.readSorted(ctx, opts.After)
	}
	return p.page, err
}

// A pager fills a page.
type pager struct {
	*scan
	by            Order // "" for that of IDs
	desc          bool
	limit, offset int
	counts        bool
	seal          *cursorSeal
	page          *Page
}

func (p *pager) add(e entry) {
	if e.Listed == nil {
		p.page.Folders = append(p.page.Folders, e.folder)
	} else {
		p.page.Files = append(p.page.Files, p.b.describeFile(e.File, e.Current))
	}
}

// skip passes over n entries and returns how many there were.
func (p *pager) skip(ctx context.Context, n int) (passed int, err error) {
	if n <= 0 {
		return 0, nil
	}
	for _, err := range p.eachEntry(ctx, true) {
		if err != nil {
			return 0, err
		}
		if passed++; passed == n {
			break
		}
	}
	return passed, nil
}

// readByIndex fills the page in the order in which an index has the files.
func (p *pager) readByIndex(ctx context.Context, after string) (err error) {
	if after != "" {
		if p.at, err = p.seal.open(after); err != nil {
			return err
		}
	}
	n, err := p.skip(ctx, min(p.offset, maxCounted+1))
	if err != nil {
		return err
	}
	if n > maxCounted || n < p.offset && p.cut {
		return fmt.Errorf("offset %d is beyond %d, or what comes before is beyond %d files that are looked at: go on by cursors: %w",
			p.offset, maxCounted, maxScanned, ErrListTooLong)
	}
	if n == p.offset {
		taken := 0
		for e, err := range p.eachEntry(ctx, false) {
			if err != nil {
				return err
			}
			p.add(e)
			if taken++; taken == p.limit {
				break
			}
		}
		n += taken
	}
	end, beyond := p.at, 1
	if p.counts {
		beyond = max(1, maxCounted+1-n)
	}
	more, err := p.skip(ctx, beyond)
	if err != nil {
		return err
	}
	if p.counts {
		p.page.Total, p.page.AtLeast = min(n+more, maxCounted), p.cut || n+more > maxCounted
	}
	switch {
	case more > 0:
		p.page.Next = p.seal.close(end)
	case p.cut:
		p.page.Next = p.seal.close(p.at)
	}
	return nil
}

// readSorted fills the page in an order that no index has: by a scan of all
// that is listed, which keeps the first entries behind the cursor.
func (p *pager) readSorted(ctx context.Context, after string) error {
	var from *sortKey
	if after != "" {
		text, err := p.seal.open(after)
		if err != nil {
			return err
		}
		if from, err = parseSortKey(text); err != nil {
			return err
		}
	}
	if p.offset > 0 {
		var err error
		if from, err = p.keyAt(ctx, p.offset); err != nil {
			return err
		}
		p.at, p.left = "", maxScanned
		clear(p.seen)
	}
	var best []keyedEntry
	keep := func() {
		slices.SortFunc(best, func(a, b keyedEntry) int { return a.key.compare(&b.key, p.desc) })
		best = best[:min(len(best), p.limit+1)]
	}
	n, err := p.eachSorted(ctx, func(e entry, k sortKey) {
		if from != nil && k.compare(from, p.desc) <= 0 {
			return
		}
		if best = append(best, keyedEntry{e, k}); len(best) >= 2*(p.limit+1) {
			keep()
		}
	})
	if err != nil {
		return err
	}
	keep()
	for i, e := range best {
		if i == p.limit {
			p.page.Next = p.seal.close(best[i-1].key.String())
			break
		}
		p.add(e.entry)
	}
	if p.counts {
		p.page.Total = n
	}
	return nil
}
