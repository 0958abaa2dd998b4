package journal

import "github.com/cairn-store/cairn/backend"

var _ backend.Limited = (*Backend)(nil)

// CheckRoom implements backend.Limited: by the near backend, if that is one.
func (b *Backend) CheckRoom(n int64, copies bool) error {
	if near, ok := b.near.(backend.Limited); ok {
		return near.CheckRoom(n, copies)
	}
	return nil
}

// CopyRoom implements backend.Limited.
func (b *Backend) CopyRoom() int64 {
	if near, ok := b.near.(backend.Limited); ok {
		return near.CopyRoom()
	}
	return 0
}
