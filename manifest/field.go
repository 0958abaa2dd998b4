package manifest

// flag appends a number that is 1 or left out.
func (e *encoder) flag(tag byte, set bool) {
	if set {
		e.num(tag, 1)
	}
}

func (d *decoder) flag(tag byte) bool {
	n := d.num(tag)
	if n > 1 {
		d.fail()
	}
	return n == 1
}

// uploadIDs appends IDs one after another.
func (e *encoder) uploadIDs(tag byte, ids []UploadID) {
	var b []byte
	for _, id := range ids {
		p, ok := appendID(b, string(id), uploadPrefix)
		if !ok {
			e.bad = true
			return
		}
		b = p
	}
	e.bytes(tag, b)
}

func (d *decoder) uploadIDs(tag byte) (ids []UploadID) {
	p := d.raw(tag)
	if len(p)%idBytes != 0 {
		d.fail()
		return nil
	}
	for ; len(p) > 0; p = p[idBytes:] {
		id, ok := idText(p[:idBytes], uploadPrefix)
		if !ok {
			d.fail()
			return nil
		}
		ids = append(ids, UploadID(id))
	}
	return ids
}

// digests takes a map of names to bytes, nil if it is empty.
func (d *decoder) digests(tag byte) map[string][]byte {
	kvs := d.pairs(tag)
	if kvs == nil {
		return nil
	}
	m := make(map[string][]byte, len(kvs))
	for _, kv := range kvs {
		m[kv[0]] = []byte(kv[1])
	}
	return m
}

// sum32 takes 32 bytes, which are always there.
func (d *decoder) sum32(tag byte) (sum [32]byte) {
	v := d.raw(tag)
	if len(v) != len(sum) {
		d.fail()
		return sum
	}
	return [32]byte(v)
}
