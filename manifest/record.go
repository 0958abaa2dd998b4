package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// A Record is a change of metadata as it travels in packs: the whole state of
// a row after the change, or the mark that a row or pack is gone for good.
// Replay keeps the file row of the highest revision, whatever the order of
// packs; a mark beats every row.
type Record struct {
	File     *File       // a file's row
	Manifest *Manifest   // a version's row
	Purged   FileID      // the file and all its versions are gone
	Dropped  VersionID   // the version is gone
	Doomed   *cas.PackID // the pack's deletion has begun: its chunks don't count
	Home     *Home       // where a bucket's files lie from now on
}

// Types of records. They are part of the format.
const (
	recordFile     = 1
	recordManifest = 2
	recordPurged   = 3
	recordDropped  = 4
	recordDoomed   = 5
	recordHome     = 6

	recordsVersion = 1
)

// AppendRecords appends the encoding of what one commit changed.
func AppendRecords(b []byte, rs []Record) ([]byte, error) {
	b = append(b, recordsVersion)
	for i := range rs {
		typ, body, err := rs[i].encode()
		if err != nil {
			return nil, err
		}
		b = append(b, typ)
		b = binary.AppendUvarint(b, uint64(len(body)))
		b = append(b, body...)
	}
	return b, nil
}

func (r *Record) encode() (typ byte, body []byte, err error) {
	switch {
	case r.File != nil:
		body, err = r.File.AppendBinary(nil)
		return recordFile, body, err
	case r.Manifest != nil:
		body, err = r.Manifest.AppendBinary(nil)
		return recordManifest, body, err
	case r.Purged != "":
		return recordPurged, []byte(r.Purged), checkID(string(r.Purged), filePrefix)
	case r.Dropped != "":
		return recordDropped, []byte(r.Dropped), checkID(string(r.Dropped), versionPrefix)
	case r.Doomed != nil:
		return recordDoomed, r.Doomed[:], nil
	case r.Home != nil:
		body, err = r.Home.AppendBinary(nil)
		return recordHome, body, err
	}
	return 0, nil, fmt.Errorf("manifest: empty record")
}

// checkID refuses what DecodeRecords would.
func checkID(id, prefix string) error {
	if !wellFormed(id, prefix) {
		return fmt.Errorf("manifest: encode record: %q is not an ID", id)
	}
	return nil
}

// DecodeRecords reads what AppendRecords wrote.
func DecodeRecords(p []byte) ([]Record, error) {
	if len(p) == 0 || p[0] != recordsVersion {
		return nil, fmt.Errorf("manifest: decode records: %w", ErrFormat)
	}
	var rs []Record
	d := &decoder{p: p[1:]}
	for len(d.p) > 0 {
		typ := d.p[0]
		d.p = d.p[1:]
		n := d.uvarint()
		if d.bad || n > uint64(len(d.p)) {
			return nil, fmt.Errorf("manifest: decode records: %w", ErrFormat)
		}
		r, err := decodeRecord(typ, d.p[:n])
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
		d.p = d.p[n:]
	}
	return rs, nil
}

func decodeRecord(typ byte, body []byte) (r Record, err error) {
	ok := true
	switch typ {
	case recordFile:
		r.File = new(File)
		err = r.File.UnmarshalBinary(body)
	case recordManifest:
		r.Manifest = new(Manifest)
		err = r.Manifest.UnmarshalBinary(body)
	case recordPurged:
		r.Purged, ok = ParseFileID(string(body))
	case recordDropped:
		r.Dropped, ok = ParseVersionID(string(body))
	case recordDoomed:
		if ok = len(body) == len(cas.PackID{}); ok {
			id := cas.PackID(body)
			r.Doomed = &id
		}
	case recordHome:
		r.Home = new(Home)
		err = r.Home.UnmarshalBinary(body)
	default:
		ok = false
	}
	if err == nil && !ok {
		err = fmt.Errorf("manifest: decode record: %w", ErrFormat)
	}
	return r, err
}
