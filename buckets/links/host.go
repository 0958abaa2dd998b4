package links

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// A State is what a host keeps in one row of its own database. It shows which
// database that is, and whether it or the store's was restored from a backup.
type State struct {
	Database string `json:"database"` // 32 hexadecimal digits; "" in a new database
	Session  uint64 `json:"session"`  // rises with each opening; 0 in a new database
}

// A Keeper keeps the State of a host in the host's database.
type Keeper interface {
	// Load returns what Save kept last, the zero State if it kept nothing.
	Load(ctx context.Context) (State, error)
	// Save keeps st, durably, in place of what was kept before.
	Save(ctx context.Context, st State) error
}

// Options are choices of Open. Zero values are defaults.
type Options struct {
	// Name tells hosts of one store apart; "" is "host". Small letters, digits, _ and -.
	Name string
	// Fields are the file fields of the host's records.
	Fields []schema.Field
	// Plans say what becomes of the links of fields that were declared in another
	// way before, by "collection.field".
	Plans map[string]schema.Plan
	// Shared leaves the sessions before this one: other processes have the same
	// database open. Else they end.
	Shared bool
	// Adopt takes the database for the host's, though the store knows another one.
	Adopt bool
	// Restored says that one of the databases was restored from a backup. Open finds
	// that out by itself unless the backup was made in the host's last session.
	Restored bool
}

func (o *Options) name() string {
	if o == nil || o.Name == "" {
		return "host"
	}
	return o.Name
}

// A Host is a session of a host. It is safe for concurrent use.
type Host struct {
	k       *buckets.Linker
	name    string
	session uint64
	fields  map[string]*schema.Field // by their keys
}

// actThrough returns a context whose changes are those of the host.
func (h *Host) actThrough(ctx context.Context) context.Context {
	return access.ActThrough(ctx, "host", h.name)
}

// Open begins a session of the host whose database keep is of. opts may be nil. If
// the host must be reconciled, Unreconciled says so: until then nothing is removed
// for good from the buckets that its fields name.
func Open(ctx context.Context, s *buckets.Store, keep Keeper, opts *Options) (*Host, error) {
	st, err := keep.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("links: read the host's state: %w", err)
	}
	if st, err = Offer(ctx, s, st, opts); err != nil {
		return nil, err
	}
	if err := keep.Save(ctx, st); err != nil {
		return nil, fmt.Errorf("links: keep the host's state: %w", err)
	}
	return Begin(ctx, s, st, opts)
}

// Offer is the first half of Open, for hosts that call from elsewhere: it returns the
// State that the host has to keep before it calls Begin with it. An offer that is
// not followed by Begin changes nothing.
func Offer(ctx context.Context, s *buckets.Store, st State, opts *Options) (State, error) {
	if opts == nil {
		opts = &Options{}
	}
	id, err := parseDatabase(st.Database)
	if err == nil && st.Session >= maxSession {
		err = fmt.Errorf("links: host %q: session %d was never offered: correct the row in the host's database, or write 0 and reconcile: %w", opts.name(), st.Session, fs.ErrInvalid)
	}
	if err != nil {
		return State{}, err
	}
	k := s.Linker(internal.Pass{})
	if err := checkFields(k, opts); err != nil {
		return State{}, err
	}
	// Begin would refuse this too, but then the host has kept a session that has not
	// begun, and must be reconciled.
	if row, err := k.Meta().Host(ctx, opts.name()); err == nil {
		if _, err := (&Host{k: k, name: row.Name}).findChanges(ctx, row, opts); err != nil {
			return State{}, err
		}
	}
	var out State
	err = k.UpdateHost(ctx, func(tx manifest.Tx) error {
		h, err := tx.Host(ctx, opts.name())
		if errors.Is(err, fs.ErrNotExist) {
			// A host that has begun a session before, and that the store does not know,
			// has a store that was made anew.
			h, err = &manifest.Host{Name: opts.name(), Unreconciled: st.Session > 0}, nil
		}
		if err != nil {
			return err
		}
		known, never := h.ID != [16]byte{}, h.Session == 0 && !h.Unreconciled
		switch {
		case !known && id == [16]byte{} && (never || opts.Adopt):
			rand.Read(h.ID[:])
		case !known && id != [16]byte{}:
			h.ID = id
		case known && id == h.ID, known && id == [16]byte{} && never && opts.Shared:
		case never && id == [16]byte{}:
			// What was offered before may be kept in another new database. Only one of
			// the two begins.
			rand.Read(h.ID[:])
		case never && !opts.Shared && st.Session <= h.Offered: // which was offered to it before
			h.ID = id
		case opts.Adopt && id != [16]byte{}:
			h.ID, h.Unreconciled = id, true
		case opts.Adopt:
			h.Unreconciled = true
		default:
			return describeStranger(h, st)
		}
		// One that was kept and has not begun counts too: a store that was copied just
		// before it began looks the same.
		if st.Session != h.Session && !never || opts.Restored {
			h.Unreconciled = true
		}
		h.Offered = max(h.Session, h.Offered, st.Session) + 1
		out = State{hex.EncodeToString(h.ID[:]), h.Offered}
		return tx.PutHost(ctx, h)
	})
	return out, wrap("open host", err)
}

// describeStranger is the ErrHostDatabase for a database with the state st.
func describeStranger(h *manifest.Host, st State) error {
	is := "a new one"
	if st.Database != "" {
		is = st.Database
	}
	that := hex.EncodeToString(h.ID[:])
	if h.ID == [16]byte{} {
		that = "one that has begun sessions before; its ID went with the store's database"
	}
	return fmt.Errorf("host %q: %w: that is %s, this is %s; correct the path of the host's database, or open it with Adopt if it is to take the other's place",
		h.Name, ErrHostDatabase, that, is)
}

func parseDatabase(text string) (id [16]byte, err error) {
	p, err := hex.DecodeString(text)
	if err != nil || len(p) != 0 && len(p) != len(id) {
		return id, fmt.Errorf("database %q: want 32 hexadecimal digits, or nothing for a new one: %w", text, ErrHostDatabase)
	}
	copy(id[:], p)
	return id, nil
}

// Begin begins the session that Offer has offered and the host has kept. opts must
// be those of Offer.
func Begin(ctx context.Context, s *buckets.Store, st State, opts *Options) (*Host, error) {
	if opts == nil {
		opts = &Options{}
	}
	id, err := parseDatabase(st.Database)
	if err != nil {
		return nil, err
	}
	out := &Host{k: s.Linker(internal.Pass{}), name: opts.name(), session: st.Session}
	fields, err := json.Marshal(opts.Fields)
	if err != nil {
		return nil, err
	}
	if err := checkFields(out.k, opts); err != nil {
		return nil, err
	}
	// What is done before the session has begun is done again if it does not come to that.
	if err := out.changeFields(ctx, id, opts); err != nil {
		return nil, err
	}
	err = out.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		h, err := tx.Host(ctx, out.name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("host %q: %w", out.name, ErrSession)
		}
		if err != nil {
			return err
		}
		if err := checkOffered(h, id, st.Session); err != nil {
			return err
		}
		if h.Session = st.Session; !opts.Shared {
			h.Live = nil
		}
		if len(h.Live) >= maxLive {
			return fmt.Errorf("host %q has %d sessions that have not ended: end those whose processes are dead: %w", h.Name, len(h.Live), ErrSession)
		}
		h.Live = append(h.Live, st.Session)
		h.Fields = fields
		for _, f := range opts.Fields {
			if !h.Refers(f.Bucket) {
				h.Buckets = append(h.Buckets, f.Bucket)
				slices.Sort(h.Buckets)
			}
		}
		return tx.PutHost(ctx, h)
	})
	if err != nil {
		return nil, wrap("open host", err)
	}
	out.setFields(opts.Fields)
	return out, nil
}

// checkOffered fails unless a session was offered to the host and has not begun.
func checkOffered(h *manifest.Host, id [16]byte, session uint64) error {
	if h.ID != id || session > h.Offered || session <= h.Session {
		return fmt.Errorf("host %q, session %d: %w", h.Name, session, ErrSession)
	}
	return nil
}

// Attach returns the session of a host that has begun before, for those who serve
// hosts that call from elsewhere.
func Attach(ctx context.Context, s *buckets.Store, name string, session uint64) (*Host, error) {
	out := &Host{k: s.Linker(internal.Pass{}), name: name, session: session}
	h, err := out.k.Meta().Host(ctx, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !h.IsLive(session) {
		return nil, fmt.Errorf("links: host %q, session %d: %w", name, session, ErrSession)
	}
	if err != nil {
		return nil, wrap("attach", err)
	}
	fields, err := fieldsOf(h)
	if err != nil {
		return nil, err
	}
	out.setFields(fields)
	return out, nil
}

func fieldsOf(h *manifest.Host) (fields []schema.Field, err error) {
	if len(h.Fields) > 0 {
		err = json.Unmarshal(h.Fields, &fields)
	}
	if err != nil {
		return nil, fmt.Errorf("links: fields of host %q: %w", h.Name, err)
	}
	return fields, nil
}

func (h *Host) setFields(fields []schema.Field) {
	h.fields = make(map[string]*schema.Field)
	for i := range fields {
		h.fields[fields[i].Key()] = &fields[i]
	}
}

// Name returns the host's name, Session the number of the session.
func (h *Host) Name() string    { return h.name }
func (h *Host) Session() uint64 { return h.session }

// End ends the session: what is pending is left to Reconcile. It is no error if the
// session has ended.
func (h *Host) End(ctx context.Context) error { return h.EndSession(ctx, h.session) }

// EndSession is End for another session of the host. Whoever calls it knows that the
// process of that session is dead, and that none of its changes will be made any
// more. Sessions of hosts that are opened with Shared end in no other way.
func (h *Host) EndSession(ctx context.Context, session uint64) error {
	return wrap("end session", h.k.UpdateHost(ctx, func(tx manifest.Tx) error {
		row, err := tx.Host(ctx, h.name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !row.IsLive(session) {
			return nil
		}
		if err != nil {
			return err
		}
		row.Live = slices.DeleteFunc(row.Live, func(n uint64) bool { return n == session })
		return tx.PutHost(ctx, row)
	}))
}

// Unreconciled reports whether the host must be reconciled before anything is
// removed for good from the buckets that its fields name.
func (h *Host) Unreconciled(ctx context.Context) (bool, error) {
	row, err := h.k.Meta().Host(ctx, h.name)
	if err != nil {
		return false, wrap("host", err)
	}
	return row.Unreconciled, nil
}

var hostName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// checkFields checks the options that people write.
func checkFields(k *buckets.Linker, opts *Options) error {
	if !hostName.MatchString(opts.name()) {
		return fmt.Errorf("links: host name %q: want a small letter, then small letters, digits, _ or -: %w", opts.name(), fs.ErrInvalid)
	}
	seen := make(map[string]bool)
	for i := range opts.Fields {
		f := &opts.Fields[i]
		switch {
		case f.Collection == "" || f.Name == "" || len(f.Key()) > maxNames || strings.Contains(f.Name, "."):
			return fmt.Errorf("links: field %q: want a collection and a name without a dot: %w", f.Key(), fs.ErrInvalid)
		case seen[f.Key()]:
			return fmt.Errorf("links: field %s stands there twice: %w", f.Key(), fs.ErrInvalid)
		case !k.IsDeclared(f.Bucket):
			return fmt.Errorf("links: field %s: bucket %q: %w", f.Key(), f.Bucket, buckets.ErrNoBucket)
		}
		seen[f.Key()] = true
	}
	return nil
}

// wrap says in an error what was being done.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("links: %s: %w", what, err)
}
