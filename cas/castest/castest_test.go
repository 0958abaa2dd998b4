package castest_test

import (
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

func TestMemIndex(t *testing.T) {
	castest.RunIndex(t, castest.Maker{
		Open:      func(*testing.T) cas.Index { return castest.NewMemIndex() },
		NextEpoch: func(_ *testing.T, ix cas.Index) { ix.(*castest.MemIndex).NextEpoch() },
		TakeLease: func(_ *testing.T, ix cas.Index) uint64 { return ix.(*castest.MemIndex).TakeLease() },
		DoomPack:  func(_ *testing.T, ix cas.Index, id cas.PackID, _ int64) { ix.(*castest.MemIndex).DoomPack(id) },
	})
}
