package collect

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// A Report says what a collection did, or with DryRun what it would do.
type Report struct {
	DryRun  bool           `json:"dry_run"`
	Full    bool           `json:"full"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended"`
	Domains []DomainReport `json:"domains"`
}

// A DomainReport is the part of a Report about one domain.
type DomainReport struct {
	Domain string `json:"domain"`
	Epoch  uint64 `json:"epoch"`
	Floor  uint64 `json:"floor"`
	// Unchanged says that nothing can have died since the last collection, so
	// that nothing was marked. The counts of chunks are then those of that one.
	Unchanged bool `json:"unchanged,omitempty"`

	LiveChunks    int64 `json:"live_chunks"` // segments included
	DroppedChunks int64 `json:"dropped_chunks"`
	DroppedBytes  int64 `json:"dropped_bytes"`  // plain
	DroppedStored int64 `json:"dropped_stored"` // in packs
	// Waiting are dead, but a writer that began before may count on them, or a
	// chunk that is needed is made from them.
	WaitingChunks int64 `json:"waiting_chunks"`
	WaitingBytes  int64 `json:"waiting_bytes"`

	DeletedPacks   int64 `json:"deleted_packs"`
	FreedBytes     int64 `json:"freed_bytes"` // that the backend got back, without those that were copied
	RewrittenPacks int64 `json:"rewritten_packs"`
	CopiedBytes    int64 `json:"copied_bytes"`
	// DeadBytes are left in packs of which something is needed.
	DeadBytes int64 `json:"dead_bytes"`

	// Checkpoint is the base of the newest checkpoint, and RecordBytes what
	// records take in packs.
	Checkpoint  uint64 `json:"checkpoint"`
	RecordBytes int64  `json:"record_bytes"`

	// Problems are what kept the collection from doing all that it should,
	// without harm to what it did.
	Problems []string `json:"problems,omitempty"`

	// Freed tells whose bytes went, those that freed most first.
	Freed []Freed `json:"freed"`
}

// Freed is how many bytes one cause has freed. Without a bucket they never were
// part of a file, or were not counted as somebody's.
type Freed struct {
	Bucket string `json:"bucket,omitempty"`
	Path   string `json:"path,omitempty"`
	File   string `json:"file,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// Progress is what a collection is doing. Total is 0 where it is not known.
type Progress struct {
	Domain string `json:"domain"`
	Phase  string `json:"phase"` // mark, sweep, checkpoint, delete or rewrite
	Done   int64  `json:"done"`  // chunks; bytes of packs in delete and rewrite
	Total  int64  `json:"total,omitempty"`
}

const (
	maxFreed  = 100     // entries of Freed in a report
	maxCauses = 1 << 14 // that are summed up for it
)

// A tally sums up freed bytes by file. Beyond maxCauses those that freed least are
// counted together.
type tally map[Freed]int64

func (t tally) add(c *manifest.Cause, n int64) {
	if n == 0 {
		return
	}
	t[Freed{Bucket: c.Bucket, Path: c.Path, File: string(c.File)}] += n
	if len(t) <= maxCauses {
		return
	}
	for _, f := range t.listSums()[maxCauses/2:] {
		n := f.Bytes
		f.Bytes = 0
		delete(t, f)
		t[Freed{}] += n
	}
}

// listSums returns the sums, largest first.
func (t tally) listSums() []Freed {
	out := make([]Freed, 0, len(t))
	for f, n := range t {
		f.Bytes = n
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Freed) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Bucket, b.Bucket), strings.Compare(a.Path, b.Path), strings.Compare(a.File, b.File))
	})
	return out
}

// listLargest returns what stands in a report.
func (t tally) listLargest() []Freed {
	out := t.listSums()
	return out[:min(len(out), maxFreed)]
}
