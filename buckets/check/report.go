package check

import (
	"slices"
)

// A Problem is one thing that Check found.
type Problem struct {
	Kind       string `json:"kind"` // "chunk", "pack", "index", "manifest", "metadata", "collection"
	Backend    string `json:"backend,omitempty"`
	Pack       string `json:"pack,omitempty"`
	Digest     string `json:"digest,omitempty"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	Path       string `json:"path,omitempty"` // of the file: its bucket, and where it lies in it
	Detail     string `json:"detail"`
	Heals      string `json:"heals,omitempty"` // HealsRepair, HealsUpload, …
	Does       string `json:"does,omitempty"`  // what a repair does about it, or has done
	Repaired   bool   `json:"repaired,omitempty"`
}

// maxReported is how many problems, and how many damaged versions, a Report holds.
// All are counted, and told to Options.Found.
const maxReported = 1000

// maxWriters is how many writers a Report counts the packs of.
const maxWriters = 1000

// A Report is the outcome of Check.
type Report struct {
	OK        bool  `json:"ok"`
	Packs     int64 `json:"packs"`
	Chunks    int64 `json:"chunks"`   // of the index, segments included
	Segments  int64 `json:"segments"` // that versions need
	Files     int64 `json:"files"`
	Manifests int64 `json:"manifests"`
	Links     int64 `json:"links"` // of records
	Bytes     int64 `json:"bytes"` // read from packs
	Rebuilt   bool  `json:"rebuilt,omitempty"`
	CaughtUp  bool  `json:"caught_up,omitempty"` // a database that was older was brought up to its packs
	// Problems are the first that were found, Damaged the first manifests that
	// cannot be read whole.
	Problems     []Problem        `json:"problems"`
	ProblemCount int64            `json:"problem_count"`
	Damaged      []Problem        `json:"damaged"`
	DamagedCount int64            `json:"damaged_count"`
	Kinds        map[string]int64 `json:"kinds"` // how many of both there are of each kind

	PacksByWriter []WriterPacks `json:"packs_by_writer"`
	TookSeconds   float64       `json:"took_seconds"`
	// Plan is what a repair would make of a database that is missing, damaged
	// or older than its packs; nil where none was asked for.
	Plan *Plan `json:"plan,omitempty"`
}

// WriterPacks counts the packs of a writer: one opening of the store by a process.
type WriterPacks struct {
	Backend    string `json:"backend"`
	Writer     string `json:"writer"`
	Packs      int64  `json:"packs"`       // that are there
	LastSerial uint64 `json:"last_serial"` // the highest of them
}

// NewReport returns a Report of problems, none being fine.
func NewReport(problems ...Problem) *Report {
	r := &Report{OK: true, Problems: []Problem{}, Damaged: []Problem{}, Kinds: make(map[string]int64), PacksByWriter: []WriterPacks{}}
	for _, p := range problems {
		r.Add(p)
	}
	return r
}

// Add takes in a problem that was found before the check itself.
func (r *Report) Add(p Problem) {
	r.Problems = slices.Insert(r.Problems, 0, p)
	r.ProblemCount++
	r.Kinds[p.Kind]++
	r.OK = r.OK && p.Repaired
}

// Options are choices of Check; nil means the defaults.
type Options struct {
	// Repair mends what can be mended, only ever adding. DryRun says that it is a
	// copy which is repaired: what was repaired is told as what a repair would do.
	Repair, DryRun bool

	// Found, if not nil, is told every problem and every damaged version, when it
	// is found.
	Found func(*Problem)

	// Progress, if not nil, is told how far the check is. It must be quick.
	Progress func(Progress)

	// Rate bounds the bytes of packs that are read a second; 0 is no bound.
	Rate int64

	// TempDir is for what does not fit into memory; "" is the system's.
	TempDir string

	// served says that the store is in use.
	served bool

	// entries is how many entries logs and sets keep in memory, for tests; 0 means
	// the defaults.
	entries int

	// Domains says in which domain the files of a bucket lie if neither the
	// database nor the packs tell: the names of domains by those of buckets.
	Domains map[string]string
}

// Progress is how far a check is.
type Progress struct {
	Phase       string // waiting, database, packs, index, rows, references, files, usage
	Domain      string // "" where it is about all
	Done, Total int64  // bytes of packs, chunks, files; Total is 0 where it is not known
}
