package report

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A Dimension is one way to put versions into groups.
type Dimension int

const (
	ByBucket Dimension = iota
	ByOwner            // of the file, over all buckets
	ByType             // the media type of the version
	ByFolder           // the bucket and the first element of the folder
	dimensions
)

// A Group sums up the versions of a group. A chunk that versions of several groups
// need is in UniqueBytes of each, in ExclusiveBytes of none, and shared out evenly in
// ShareBytes. Bytes are plain, but for those that are Stored.
type Group struct {
	Name string

	Versions     int64
	LogicalBytes int64
	References   int64

	UniqueBytes     int64 // of the distinct chunks that the group needs
	ExclusiveBytes  int64 // of those that no other group needs
	StoredBytes     int64 // what the chunks of UniqueBytes take in packs
	ExclusiveStored int64
	ShareStored     int64 // of StoredBytes, each chunk divided by the groups that need it, rounded down
}

// A GroupList has the groups with the most logical bytes. There are Others more
// groups, of which Rest is what they hold as one.
type GroupList struct {
	Groups []Group
	Others int64
	Rest   Group
}

// groupName returns the name of the group that a version is in.
func (d Dimension) groupName(f *manifest.File, m *manifest.Manifest) string {
	switch d {
	case ByBucket:
		return f.Bucket
	case ByOwner:
		return f.Owner
	case ByType:
		return m.MIMEType
	}
	first, _, _ := strings.Cut(f.Folder, "/")
	return f.Bucket + "/" + first
}

// groupKey is what stands for a group in a log.
func (d Dimension) groupKey(name string) digests.Key {
	b := append(binary.BigEndian.AppendUint64(nil, uint64(d)), name...)
	return digests.KeyOf(cas.Sum(b))
}

// groups are the groups that a report tells apart: of each dimension those with the
// most logical bytes, which have numbers from 0 on. All others have the number after
// those.
type groups struct {
	lists   [dimensions]GroupList
	numbers [dimensions]map[digests.Key]int
}

// groupMemory is how many groups are summed up in memory, of each dimension.
const groupMemory = 1 << 18

// chooseGroups reads all rows to find out which groups are the largest.
func chooseGroups(ctx context.Context, s *Store, o *Options, pace *pacer) (*groups, error) {
	g := &groups{}
	var logs [dimensions]*digests.Log
	for d := range logs {
		logs[d] = digests.NewLogOf(o.TempDir, digests.Sum, groupMemory)
		defer logs[d].Close()
	}
	for row, err := range s.Meta.AllRows(ctx, "") {
		if err == nil && row.Manifest != nil {
			for d, log := range logs {
				d := Dimension(d)
				if err == nil {
					err = log.Add(d.groupKey(d.groupName(row.File, row.Manifest)), uint64(row.Manifest.Size))
				}
			}
		}
		if err == nil {
			err = pace.countStep(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	for d := range logs {
		if err := g.chooseLargest(Dimension(d), logs[d], o.Top); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *groups) chooseLargest(d Dimension, sums *digests.Log, top int) error {
	largest := newTopList(top, func(a, b *digests.Entry) int { return cmp.Or(cmp.Compare(a.Value, b.Value), b.Key.Compare(a.Key)) })
	for e, err := range sums.All() {
		if err != nil {
			return err
		}
		if _, ok := largest.addEntry(e); ok {
			g.lists[d].Others++
		}
	}
	g.numbers[d] = make(map[digests.Key]int)
	for i, e := range largest.listLargest() {
		g.numbers[d][e.Key] = i
	}
	g.lists[d].Groups = make([]Group, len(g.numbers[d]))
	return nil
}

// group returns the group of a number.
func (g *groups) group(d int, number uint16) *Group {
	if l := &g.lists[d]; int(number) < len(l.Groups) {
		return &l.Groups[number]
	}
	return &g.lists[d].Rest
}

// countVersion counts a version, and returns its tuple: the numbers of the groups
// that it is in, 16 bits for each dimension.
func (g *groups) countVersion(f *manifest.File, m *manifest.Manifest) (tuple uint64) {
	for d := range dimensions {
		name := d.groupName(f, m)
		number, ok := g.numbers[d][d.groupKey(name)]
		if !ok {
			number = len(g.lists[d].Groups)
		}
		tuple |= uint64(number) << (16 * d)
		of := g.group(int(d), uint16(number))
		if ok {
			of.Name = name
		}
		of.Versions++
		of.LogicalBytes += m.Size
		of.References += m.Chunks
	}
	return tuple
}

// countChunk counts a chunk that versions with these tuples need.
func (g *groups) countChunk(tuples []uint64, length, stored int64) {
	var numbers []uint16
	for d := range int(dimensions) {
		numbers = numbers[:0]
		for _, t := range tuples {
			if n := uint16(t >> (16 * d)); !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
		for _, n := range numbers {
			of := g.group(d, n)
			of.UniqueBytes += length
			of.StoredBytes += stored
			of.ShareStored += stored / int64(len(numbers))
			if len(numbers) == 1 {
				of.ExclusiveBytes += length
				of.ExclusiveStored += stored
			}
		}
	}
}

// finishLists orders the groups by what was counted, which may have changed since
// they were chosen, and leaves out those that are gone.
func (g *groups) finishLists() *[dimensions]GroupList {
	for d := range g.lists {
		l := &g.lists[d]
		l.Groups = slices.DeleteFunc(l.Groups, func(of Group) bool { return of.Versions == 0 })
		slices.SortFunc(l.Groups, func(a, b Group) int {
			return cmp.Or(cmp.Compare(b.LogicalBytes, a.LogicalBytes), strings.Compare(a.Name, b.Name))
		})
	}
	return &g.lists
}
