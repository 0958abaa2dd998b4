package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// A Record is a change of metadata as packs store it: the whole state of a row
// after the change, or a mark that a row or pack was removed for good. Exactly
// one field is set. Replay keeps the row of a file or link with the highest revision, in
// whatever order it reads the packs. A mark takes precedence over every row.
type Record struct {
	File     *File     // a file's row
	Manifest *Manifest // a version's row
	Purged   FileID    // the file and all its versions were removed
	Dropped  VersionID // the version was removed
	Doomed   *Doom     // the deletion of the pack has begun: its chunks are not used
	Home     *Home     // the domain of a bucket's files from this commit on
	Census   *Census   // packs that need not exist
	Link     *Link     // a link's row
}

// A Doom names a pack whose deletion has begun, and its serial number among the
// packs of its writer, so that the pack is not reported as missing.
type Doom struct {
	Pack   cas.PackID
	Writer [16]byte
	Serial uint64 // from 1
}

// Types of records. They are part of the format.
const (
	recordFile     = 1
	recordManifest = 2
	recordPurged   = 3
	recordDropped  = 4
	recordDoomed   = 5
	recordHome     = 6
	recordCensus   = 7
	recordLink     = 8
)

// appendTo appends the type of the record, the length of its body, and the body.
func (r *Record) appendTo(b []byte) ([]byte, error) {
	typ, body, err := r.encodeBody()
	if err != nil {
		return nil, err
	}
	b = append(b, typ)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...), nil
}

// encodeBounded encodes a record as appendTo does. One that is longer than
// MaxRecord is ErrTooLarge.
func (r *Record) encodeBounded() ([]byte, error) {
	p, err := r.appendTo(nil)
	if err == nil && len(p) > MaxRecord {
		err = fmt.Errorf("a record of %d bytes: %w", len(p), ErrTooLarge)
	}
	return p, err
}

func (r *Record) encodeBody() (typ byte, body []byte, err error) {
	switch {
	case r.File != nil && r.File.ID != "":
		body, err = r.File.AppendBinary(nil)
		return recordFile, body, err
	case r.Manifest != nil && r.Manifest.ID != "" && r.Manifest.File != "":
		body, err = r.Manifest.AppendBinary(nil)
		return recordManifest, body, err
	case r.Purged != "":
		body, err = encodeID(string(r.Purged), filePrefix)
		return recordPurged, body, err
	case r.Dropped != "":
		body, err = encodeID(string(r.Dropped), versionPrefix)
		return recordDropped, body, err
	case r.Doomed != nil && r.Doomed.Serial > 0:
		body = append(body, r.Doomed.Pack[:]...)
		body = append(body, r.Doomed.Writer[:]...)
		return recordDoomed, binary.AppendUvarint(body, r.Doomed.Serial), nil
	case r.Home != nil && r.Home.Move > 0:
		body, err = r.Home.AppendBinary(nil)
		return recordHome, body, err
	case r.Census != nil && r.Census.isValid():
		return recordCensus, r.Census.appendTo(nil), nil
	case r.Link != nil && r.Link.Revision > 0:
		body, err = r.Link.AppendBinary(nil)
		return recordLink, body, err
	}
	return 0, nil, fmt.Errorf("manifest: encode record: it is empty, or of nothing")
}

func encodeID(id, prefix string) ([]byte, error) {
	p, ok := appendID(nil, id, prefix)
	if !ok {
		return nil, fmt.Errorf("manifest: encode record: %q is not an ID", id)
	}
	return p, nil
}

// takeRecord takes a record off the front.
func (d *decoder) takeRecord() (Record, error) {
	before := len(d.p)
	typ := d.p[0]
	d.p = d.p[1:]
	n := d.takeNumber()
	if d.bad || n > uint64(len(d.p)) || before-len(d.p)+int(n) > MaxRecord {
		return Record{}, fmt.Errorf("manifest: decode record: %w", ErrFormat)
	}
	body := d.p[:n]
	d.p = d.p[n:]
	return decodeRecord(typ, body)
}

func decodeRecord(typ byte, body []byte) (r Record, err error) {
	ok := true
	switch typ {
	case recordFile:
		r.File = new(File)
		err = r.File.UnmarshalBinary(body)
		ok = r.File.ID != ""
	case recordManifest:
		r.Manifest = new(Manifest)
		err = r.Manifest.UnmarshalBinary(body)
		ok = r.Manifest.ID != "" && r.Manifest.File != ""
	case recordPurged:
		var id string
		id, ok = idText(body, filePrefix)
		r.Purged = FileID(id)
	case recordDropped:
		var id string
		id, ok = idText(body, versionPrefix)
		r.Dropped = VersionID(id)
	case recordDoomed:
		r.Doomed, ok = decodeDoom(body)
	case recordHome:
		r.Home = new(Home)
		err = r.Home.UnmarshalBinary(body)
		ok = r.Home.Move > 0
	case recordCensus:
		r.Census, ok = decodeCensus(body)
	case recordLink:
		r.Link = new(Link)
		err = r.Link.UnmarshalBinary(body)
		ok = r.Link.Revision > 0
	case 0:
		ok = false
	default:
		err = fmt.Errorf("manifest: decode record: %w", &UnknownError{"record", "type", uint64(typ)})
	}
	if err == nil && !ok {
		err = fmt.Errorf("manifest: decode record: %w", ErrFormat)
	}
	return r, err
}

func decodeDoom(body []byte) (*Doom, bool) {
	if len(body) < 32 {
		return nil, false
	}
	doom := &Doom{Pack: cas.PackID(body[:16]), Writer: [16]byte(body[16:32])}
	d := &decoder{p: body[32:]}
	doom.Serial = d.takeNumber()
	return doom, !d.bad && len(d.p) == 0 && doom.Serial > 0
}
