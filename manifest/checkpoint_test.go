package manifest_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// writeCheckpoint encodes records as the slots of a checkpoint, its end last.
func writeCheckpoint(t *testing.T, base uint64, rs []manifest.Record) (slots [][]byte) {
	t.Helper()
	c := manifest.NewCheckpoint(base)
	for i := range rs {
		p, err := c.Add(&rs[i])
		if err != nil {
			t.Fatal(err)
		}
		if p != nil {
			slots = append(slots, p)
		}
	}
	if p := c.Flush(); p != nil {
		slots = append(slots, p)
	}
	return append(slots, c.End())
}

// What is written as a checkpoint comes back from it, whole or not at all.
func TestCheckpointSurvives(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	for _, n := range []int{0, 1, 10, 1000} {
		want := randomRecords(t, r, n)
		for i := 0; i < n; i += 100 {
			want[i] = fat(t, 200<<10)
		}
		slots := writeCheckpoint(t, 7, want)
		if n == 1000 && len(slots) < 3 {
			t.Errorf("%d slots hold %d records", len(slots), n)
		}
		var got []manifest.Record
		rep := manifest.NewReplayer(func(_ context.Context, _ uint64, rs []manifest.Record) error {
			got = append(got, rs...)
			return nil
		})
		for i, p := range slots {
			if len(p) > manifest.MaxSlot {
				t.Errorf("slot %d of %d bytes", i, len(p))
			}
			if err := rep.Survey(p); err != nil {
				t.Fatal(err)
			}
			torn := manifest.NewReplayer(nil)
			for j, p := range slots {
				if j != i {
					torn.Survey(p)
				}
			}
			if torn.Base() != 0 {
				t.Errorf("without slot %d of %d the checkpoint counts", i, len(slots))
			}
		}
		for _, p := range slots {
			if err := rep.Replay(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if rep.Base() != 7 || !reflect.DeepEqual(got, want) {
			t.Errorf("base %d, %d records of %d", rep.Base(), len(got), len(want))
		}
	}
}

func TestCheckpointRefuses(t *testing.T) {
	c := manifest.NewCheckpoint(1)
	large := fat(t, manifest.MaxRecord+1)
	if _, err := c.Add(&large); !errors.Is(err, manifest.ErrTooLarge) {
		t.Errorf("a record too large: %v", err)
	}
	if _, err := c.Add(&manifest.Record{}); err == nil {
		t.Error("an empty record is encoded")
	}
	if c.Flush() != nil {
		t.Error("what was refused is written")
	}
}
