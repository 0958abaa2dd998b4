package buckets

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Home says where the files of a bucket lie. The database decides; a schema
// that says otherwise is refused, but for one that has not learned of a move.
type Home struct {
	Domain string   `json:"domain,omitempty"` // "" of a bucket that is not declared any more
	Move   uint64   `json:"move,omitempty"`   // how often it was moved, from 1; 0 if never
	From   string   `json:"from,omitempty"`   // the domain that it was moved from last
	Been   []string `json:"been,omitempty"`   // other domains whose packs hold rows of it
}

// bound is the kind of values that hold homes, by bucket. One that was never
// moved is only its domain's name.
const bound = "bucket"

func (h *Home) encode() ([]byte, error) {
	if h.Move == 0 && len(h.Been) == 0 {
		return []byte(h.Domain), nil
	}
	return json.Marshal(h)
}

func parseHome(bucket string, v []byte) (h Home, err error) {
	if len(v) == 0 || v[0] != '{' {
		return Home{Domain: string(v)}, nil
	}
	if err := json.Unmarshal(v, &h); err != nil {
		return h, fmt.Errorf("home of bucket %q: %w", bucket, err)
	}
	return h, nil
}

func readHome(ctx context.Context, rows rowsAndValues, bucket string) (h Home, err error) {
	v, err := rows.Value(ctx, bound, bucket)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	return parseHome(bucket, v)
}

func putHome(ctx context.Context, tx manifest.Tx, bucket string, h *Home) error {
	v, err := h.encode()
	if err != nil {
		return err
	}
	return tx.PutValue(ctx, bound, bucket, v)
}

// Homes tells where the files of all buckets lie, as the database knows it.
func Homes(ctx context.Context, meta manifest.Store) (map[string]Home, error) {
	out := make(map[string]Home)
	for v, err := range meta.Values(ctx, bound, "") {
		if err != nil {
			return nil, err
		}
		if out[v.Key], err = parseHome(v.Key, v.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// RestoreHomes notes in a database made anew where the files of each bucket
// lie.
func RestoreHomes(ctx context.Context, meta manifest.Store, homes map[string]Home) error {
	_, err := meta.Update(ctx, func(tx manifest.Tx) error {
		for bucket, h := range homes {
			if err := putHome(ctx, tx, bucket, &h); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// follow changes the policies of buckets whose schema has not learned of a
// move.
func (s *Store) follow(ctx context.Context, policies map[string]Policy) error {
	homes, err := Homes(ctx, s.meta)
	if err != nil {
		return err
	}
	for name, p := range policies {
		h := homes[name]
		if h.Domain == "" || h.Domain == p.Domain || h.From != p.Domain {
			continue
		}
		s.log.Warn("the schema names the backend that the bucket was moved from: change it", "bucket", name, "schema", p.Domain, "backend", h.Domain)
		p.Domain = h.Domain
		policies[name] = p
	}
	return nil
}

// bind ties every bucket to its domain, and unties those that are left out.
// Commits check the tie, so that no upload that began before a move ends up in
// the wrong place, or in none. While the store takes no changes this only
// checks, and the ties are made before the first change.
func (s *Store) bind(ctx context.Context, policies map[string]Policy) error {
	if s.writable(ctx) == nil || !s.gate.postpone(policies) {
		return s.tie(ctx, policies, s.applyValues)
	}
	err := s.tie(ctx, policies, func(ctx context.Context, fn func(tx manifest.Tx) error) error {
		return s.applyValues(ctx, func(tx manifest.Tx) error { return cmp.Or(fn(tx), errNotNow) })
	})
	if errors.Is(err, errNotNow) {
		return nil
	}
	return err
}

// errNotNow ends a transaction that is only to check.
var errNotNow = errors.New("no change is made now")

// tie is bind. It keeps the ties by keep.
func (s *Store) tie(ctx context.Context, policies map[string]Policy, keep func(context.Context, func(tx manifest.Tx) error) error) error {
	known, err := s.meta.Buckets(ctx)
	if err != nil {
		return err
	}
	homes, err := Homes(ctx, s.meta)
	if err != nil {
		return err
	}
	for name := range homes { // an upload may just be making the first file of any
		known = append(known, name)
	}
	var moved []string // that were moved before: packs are told of their homes
	err = keep(ctx, func(tx manifest.Tx) error {
		moved = nil
		for _, name := range known {
			if p, ok := policies[name]; !ok {
				if err := s.unbind(ctx, tx, name); err != nil {
					return err
				}
			} else if err := stays(ctx, tx, name, p.Domain); err != nil {
				return err
			}
		}
		for name, p := range policies {
			h, err := readHome(ctx, tx, name)
			if err != nil {
				return err
			}
			switch {
			case h.Domain == p.Domain:
			case h.Move > 0:
				moved = append(moved, name)
			default:
				h.Domain = p.Domain
				if err := putHome(ctx, tx, name, &h); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, name := range moved {
		if err == nil {
			err = s.rebind(ctx, name, policies[name].Domain)
		}
	}
	return err
}

// unbind unties a bucket that is not declared.
func (s *Store) unbind(ctx context.Context, tx manifest.Tx, name string) error {
	u, err := tx.Usage(ctx, name)
	if err != nil {
		return err
	}
	if u.Files+u.TrashedFiles > 0 {
		return fmt.Errorf("bucket %q is not declared, and holds %d files and %d in the trash: %w; declare it in --schema, or purge them",
			name, u.Files, u.TrashedFiles, ErrBucketInUse)
	}
	h, err := readHome(ctx, tx, name)
	if err != nil || h.Move == 0 {
		return errors.Join(err, tx.DropValue(ctx, bound, name))
	}
	h.leave("")
	return putHome(ctx, tx, name, &h)
}

// stays checks that the files of a bucket can still be found.
func stays(ctx context.Context, tx manifest.Tx, name, domain string) error {
	u, err := tx.Usage(ctx, name)
	if err != nil || u.Files+u.TrashedFiles == 0 {
		return err
	}
	h, err := readHome(ctx, tx, name)
	if err != nil || h.Domain == "" || h.Domain == domain {
		return err
	}
	return fmt.Errorf("bucket %q is moved from backend %q to %q, and holds %d files and %d in the trash: %w; cairn migrate --bucket %s --to %s moves them",
		name, h.Domain, domain, u.Files, u.TrashedFiles, ErrBucketInUse, name, domain)
}

// rebind ties an empty bucket to another domain.
func (s *Store) rebind(ctx context.Context, name, domain string) error {
	return s.apply(ctx, func(tx manifest.Tx) error {
		if err := stays(ctx, tx, name, domain); err != nil {
			return err
		}
		h, err := readHome(ctx, tx, name)
		if err != nil {
			return err
		}
		return h.settle(ctx, tx, name, domain)
	})
}

// leave notes that the files lie elsewhere from now on.
func (h *Home) leave(to string) {
	if h.Domain != "" && !slices.Contains(h.Been, h.Domain) {
		h.Been = append(h.Been, h.Domain)
	}
	h.From, h.Domain = h.Domain, to
}

// settle makes domain the home, for a rebuild too.
func (h *Home) settle(ctx context.Context, tx manifest.Tx, bucket, domain string) error {
	h.leave(domain)
	h.Move++
	if err := tx.PutHome(ctx, domain, &manifest.Home{Bucket: bucket, Move: h.Move, From: h.From}); err != nil {
		return err
	}
	return putHome(ctx, tx, bucket, h)
}

// here checks in a transaction that the bucket's files lie where u's content
// was put.
func (u *upload) here(ctx context.Context, tx manifest.Tx) error {
	h, err := readHome(ctx, tx, u.b.b.name)
	switch {
	case err != nil:
		return err
	case h.Domain == "":
		return ErrNoBucket
	case h.Domain != u.b.domain():
		return ErrMoved
	}
	return nil
}

// domain is where the bucket's files lie: now, or when the handle was pinned.
// Within a change it stays as it is. A row that was found before has its
// content there.
func (b *Bucket) domain() string {
	if b.pin != "" {
		return b.pin
	}
	if now := b.s.lookup(b.b.name); now != nil {
		return now.Domain
	}
	return b.b.Domain
}

func (b *Bucket) chunks() *cas.Store { return b.s.chunks[b.domain()] }

// pinned returns the bucket for one upload: what it stores, it finds again.
func (b *Bucket) pinned() *Bucket {
	c := *b
	c.pin = b.domain()
	return &c
}

// moved reports whether the bucket's files lie elsewhere than domain now.
func (b *Bucket) moved(domain string) bool {
	c := *b
	c.pin = ""
	return c.domain() != domain
}
