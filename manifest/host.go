package manifest

import "slices"

// A Host is a program with records in a database of its own. Its row is in Cairn's
// database alone: after a rebuild from packs, every host that links name counts as
// not reconciled.
type Host struct {
	Name string
	ID   [16]byte // random; the host's database has it too

	// Session is the highest session of the host that has begun, Offered the number
	// that was offered to it last. It is Session, or one more while nobody knows
	// whether the host has kept it.
	Session uint64
	Offered uint64
	// Live are the sessions that have not ended, in order.
	Live []uint64

	// Unreconciled says that links and records may differ by more than what is
	// pending, since one of the databases was restored or made anew. While it is
	// set, nothing is removed from the host's buckets.
	Unreconciled bool
	// Buckets are those that its records refer to, in order.
	Buckets []string
	// Fields describe its fields as it declared them last; their encoding is that of
	// package buckets/links.
	Fields []byte
}

// IsLive reports whether a session has begun and has not ended.
func (h *Host) IsLive(session uint64) bool {
	_, ok := slices.BinarySearch(h.Live, session)
	return ok
}

// Refers reports whether records of the host refer to files of a bucket.
func (h *Host) Refers(bucket string) bool {
	_, ok := slices.BinarySearch(h.Buckets, bucket)
	return ok
}

// AppendBinary appends the canonical encoding of the row.
func (h *Host) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagHost, "host", h) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (h *Host) UnmarshalBinary(p []byte) error {
	*h = Host{}
	return parseRow(p, tagHost, "host", 8, h)
}

func (h *Host) codeFields(c *codec) {
	c.text(1, &h.Name)
	fixedField(c, 2, h.ID[:])
	c.number(3, &h.Session)
	c.number(4, &h.Offered)
	c.numbers(5, &h.Live)
	c.flag(6, &h.Unreconciled)
	c.list(7, &h.Buckets)
	c.bytes(8, &h.Fields)
	c.must(h.Name != "")
}
