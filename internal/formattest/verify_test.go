package formattest

import "errors"

// verify decodes all of a pack, and returns what is wrong with it.
func (p *pack) verify() error {
	for _, f := range p.frames {
		if err := f.decode(nil); err != nil {
			return err
		}
	}
	return errors.Join(p.damaged...)
}

// read reads the pack of that ID, and verifies it.
func read(id id16, data []byte) (*pack, error) {
	p, err := readPack(id, data)
	if err != nil {
		return nil, err
	}
	return p, p.verify()
}
