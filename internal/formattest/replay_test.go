package formattest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// appendField, envelope and the like write what the page says, for slots that no run can be brought to make.
func appendField(b []byte, tag byte, value ...byte) []byte {
	return append(append(append(b, tag), byte(len(value))), value...)
}

func envelope(tag byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{tag, 1}, uint64(len(body))), body...)
}

func rawID(n byte) []byte { return append(make([]byte, 21), n) }

func fileRecord(id, revision byte) []byte {
	row := envelope('F', appendField(appendField(nil, 1, rawID(id)...), 2, revision))
	return append([]byte{recordFile, byte(len(row))}, row...)
}

func manifestRecord(id, file byte) []byte {
	row := envelope('M', appendField(appendField(nil, 1, rawID(id)...), 2, rawID(file)...))
	return append([]byte{recordManifest, byte(len(row))}, row...)
}

func linkRecord(id, revision, file, state byte) []byte {
	body := appendField(appendField(appendField(nil, 1, rawID(id)...), 2, revision), 3, 'h')
	row := envelope('J', appendField(appendField(appendField(body, 5, 'b'), 6, rawID(file)...), 12, state))
	return append([]byte{recordLink, byte(len(row))}, row...)
}

func goneRecord(kind, id byte) []byte { return append([]byte{kind, 22}, rawID(id)...) }

func doomedRecord(pack byte) []byte {
	body := append(append(make([]byte, 15), pack), make([]byte, 16)...)
	return append([]byte{recordDoomed, 33}, append(body, 1)...)
}

func censusRecord(numbers ...byte) []byte {
	body := append(make([]byte, 16), numbers...)
	return append([]byte{recordCensus, byte(len(body))}, body...)
}

func homeRecord(move byte, domain string) []byte {
	row := envelope('H', appendField(appendField(appendField(nil, 1, 'b'), 2, move), 4, []byte(domain)...))
	return append([]byte{recordHome, byte(len(row))}, row...)
}

func commitSlot(commit, n, m byte, records ...[]byte) []byte {
	return envelope('R', append([]byte{slotCommit, commit, n, m}, slices.Concat(records...)...))
}

func partSlot(id, base, n byte, records ...[]byte) []byte {
	head := append(append([]byte{slotPart}, make([]byte, 15)...), id, base, n)
	return envelope('R', append(head, slices.Concat(records...)...))
}

// endSlot ends the checkpoint that consists of parts.
func endSlot(id, base byte, parts ...[]byte) []byte {
	sums := make([][]byte, len(parts))
	for i, p := range parts {
		sums[i] = digestOf(kindData, p)
	}
	head := append(append([]byte{slotEnd}, make([]byte, 15)...), id, base, byte(len(parts)))
	return envelope('R', append(head, derive(32, contextCheckpoint, sums...)...))
}

// sum tells a state in short: files with revisions, manifests, links with revisions and states, doomed packs, homes.
func (s *state) sum() string {
	out := ""
	for _, id := range sortedKeys(s.files) {
		out += fmt.Sprintf("f%d.%d ", id[21], s.files[id].num(2))
	}
	for _, id := range sortedKeys(s.manifests) {
		out += fmt.Sprintf("m%d ", id[21])
	}
	for _, id := range sortedKeys(s.links) {
		out += fmt.Sprintf("l%d.%d:%d ", id[21], s.links[id].num(2), s.links[id].num(12))
	}
	for id := range s.doomed {
		out += fmt.Sprintf("d%d ", id[15])
	}
	for _, h := range s.homes {
		out += fmt.Sprintf("h%d:%s ", h.num(2), h.text(4))
	}
	for _, serials := range s.needless {
		for _, n := range slices.Sorted(maps.Keys(serials)) {
			out += fmt.Sprintf("n%d ", n)
		}
	}
	return out
}

func TestReplay(t *testing.T) {
	first := partSlot(1, 5, 1, fileRecord(1, 7), manifestRecord(1, 1))
	second := partSlot(1, 5, 2, fileRecord(2, 3))
	end := endSlot(1, 5, first, second)
	late := partSlot(2, 9, 1, fileRecord(4, 1))
	old := commitSlot(5, 1, 1, fileRecord(3, 1), goneRecord(recordPurged, 1), doomedRecord(8))
	tests := []struct {
		name  string
		slots [][]byte
		want  string
	}{
		{"nothing", nil, ""},
		{"highest revision", [][]byte{commitSlot(1, 1, 1, fileRecord(1, 2)), commitSlot(2, 1, 1, fileRecord(1, 1))}, "f1.2 "},
		{"commit in parts", [][]byte{
			commitSlot(1, 1, 2, fileRecord(1, 1)), commitSlot(1, 2, 2, manifestRecord(1, 1)),
		}, "f1.1 m1 "},
		{"part that is missing", [][]byte{commitSlot(1, 1, 3, fileRecord(1, 1)), commitSlot(1, 3, 3, fileRecord(2, 1))}, ""},
		{"purged", [][]byte{
			commitSlot(1, 1, 1, fileRecord(1, 1), manifestRecord(1, 1), fileRecord(2, 1), manifestRecord(2, 2)),
			commitSlot(2, 1, 1, goneRecord(recordPurged, 1)),
		}, "f2.1 m2 "},
		{"dropped", [][]byte{
			commitSlot(1, 1, 1, fileRecord(1, 1), manifestRecord(1, 1), manifestRecord(2, 1)),
			commitSlot(2, 1, 1, goneRecord(recordDropped, 1)),
		}, "f1.1 m2 "},
		{"doomed", [][]byte{commitSlot(1, 1, 1, doomedRecord(3))}, "d3 n1 "},
		{"censuses", [][]byte{
			commitSlot(1, 1, 1, censusRecord(2, 1, 4, 0)), commitSlot(2, 1, 1, censusRecord(3, 0), doomedRecord(5)),
		}, "d5 n1 n2 n3 n7 "},
		{"homes", [][]byte{commitSlot(1, 1, 1, homeRecord(2, "y")), commitSlot(2, 1, 1, homeRecord(1, "x"))}, "h2:y "},
		{"links", [][]byte{
			commitSlot(1, 1, 1, linkRecord(1, 2, 7, 2), linkRecord(2, 1, 7, 1)), commitSlot(2, 1, 1, linkRecord(1, 1, 7, 1)),
		}, "l1.2:2 l2.1:1 "},
		{"link of a file that was purged", [][]byte{
			commitSlot(1, 1, 1, fileRecord(1, 1), linkRecord(1, 1, 1, 1)), commitSlot(2, 1, 1, goneRecord(recordPurged, 1)),
		}, "l1.1:1 "},
		{"link before a checkpoint", [][]byte{first, second, end, commitSlot(5, 1, 1, linkRecord(1, 9, 1, 1))}, "f1.7 f2.3 m1 "},
		{"checkpoint", [][]byte{first, second, end, old}, "f1.7 f2.3 m1 "},
		{"commit after a checkpoint", [][]byte{
			first, second, end, old, commitSlot(6, 1, 1, fileRecord(2, 4)),
		}, "f1.7 f2.4 m1 "},
		{"checkpoint without end", [][]byte{first, second, old}, "f3.1 d8 n1 "},
		{"checkpoint without part", [][]byte{first, end, old}, "f3.1 d8 n1 "},
		{"checkpoint with one part more", [][]byte{first, second, end, partSlot(1, 5, 3, fileRecord(9, 1)), old}, "f3.1 d8 n1 "},
		{"checkpoint with a part in two forms", [][]byte{
			first, second, end, partSlot(1, 5, 2, fileRecord(9, 1)), old,
		}, "f3.1 d8 n1 "},
		{"checkpoint of two bases", [][]byte{first, second, end, partSlot(1, 4, 1, fileRecord(9, 1)), old}, "f3.1 d8 n1 "},
		{"checkpoint of another digest", [][]byte{first, second, endSlot(1, 5, second, first), old}, "f3.1 d8 n1 "},
		{"newest of two checkpoints", [][]byte{first, second, end, late, endSlot(2, 9, late)}, "f4.1 "},
		{"newest checkpoint is not whole", [][]byte{first, second, end, late}, "f1.7 f2.3 m1 "},
		{"empty checkpoint", [][]byte{endSlot(3, 9), old}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 10 {
				// In any order, and each of them once or twice.
				slots := append(slices.Clone(tt.slots), tt.slots[:rand.IntN(len(tt.slots)+1)]...)
				rand.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
				if got := replaySlots(t, slots).sum(); got != tt.want {
					t.Fatalf("is %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func replaySlots(t *testing.T, slots [][]byte) *state {
	t.Helper()
	r := newReplay()
	for _, b := range slots {
		s, err := parseRecordSlot(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.add(s); err != nil {
			t.Fatal(err)
		}
	}
	return r.run()
}

func TestCensusRefuses(t *testing.T) {
	for _, body := range [][]byte{
		{}, make([]byte, 15), make([]byte, 16), append(make([]byte, 16), 1), append(make([]byte, 16), 0, 0),
		append(make([]byte, 16), 3, 1, 1, 0), append(make([]byte, 16), 3, 1, 0, 0), append(make([]byte, 16), 3, 0x81, 0),
		append(make([]byte, 16), 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1),
	} {
		if n, err := parseCensus(body); err == nil {
			t.Errorf("%x is a census of %v", body, n.ranges)
		}
	}
}
