package manifest

// A Home says in which domain the files of a bucket lie: the one whose packs
// hold the record. A bucket that was never moved needs none. Of the homes of a
// bucket the one of the highest Move counts.
type Home struct {
	Bucket string
	Move   uint64 // counts from 1
	From   string // the domain that the files were moved from; "" at first
}

// Tags of a home.
const (
	hBucket = 1 + iota
	hMove
	hFrom
)

// AppendBinary appends the canonical encoding.
func (h *Home) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{b: append(b, rowVersion), bad: h.Bucket == "" || h.Move == 0}
	e.str(hBucket, h.Bucket)
	e.num(hMove, h.Move)
	e.str(hFrom, h.From)
	return e.end("home")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (h *Home) UnmarshalBinary(p []byte) error {
	d := newDecoder(p)
	*h = Home{Bucket: d.str(hBucket), Move: d.num(hMove), From: d.str(hFrom)}
	if h.Bucket == "" || h.Move == 0 {
		d.fail()
	}
	return d.end("home")
}
