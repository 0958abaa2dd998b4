package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/cairn-store/cairn/chunker"
)

// Small chunks are stored in units of a thousand: a file of Cairn, a directory of
// files in restic, which cuts none below 512 KiB. The last letter of a unit's name
// says when it is removed.
const (
	unitChunks  = 1000
	unitBatch   = 250
	chunkRandom = 512
)

type chunkOptions struct {
	chunks int
	source string // directory for files before they are stored
	tools  string
}

// A chunkBench fills a store with many small chunks and measures what their number
// makes slow: opening, collection, checks and rebuilding.
type chunkBench struct {
	*chunkOptions
	work  string
	cairn string
	units int
	unit  int    // chunks of a unit
	batch int    // units that are made, stored and deleted together
	block []byte // a chunk but for its first bytes
	rnd   *rand.ChaCha8
}

// A chunkTool is a program that stores units.
type chunkTool interface {
	// store stores the units in dir, the n-th batch of them.
	store(ctx context.Context, dir string, n int) (result, error)
	// steps are measured after that, in order.
	steps() []chunkStep
	// sizes returns the bytes of packs, and of what finds chunks in them.
	sizes() (packs, index int64, err error)
	writeUnit(dir string, n int, chunks [][]byte) error
}

// A chunkStep is one step of a chunkTool. Those without a name are not shown.
type chunkStep struct {
	name string
	run  func(ctx context.Context) (result, error)
}

// runChunks measures cairn, and restic, with chunks of 4 KiB that compress to less than
// one.
func runChunks(ctx context.Context, work, cairn string, opts *chunkOptions) error {
	b := &chunkBench{chunkOptions: opts, work: work, cairn: cairn, units: max(1, opts.chunks/unitChunks), unit: unitChunks, batch: unitBatch}
	var err error
	if b.block, err = makeBlock(); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "tool\tstep, %d chunks\twall s\tCPU s\tpeak MB\tpacks MB\tindex MB\t\n", b.units*unitChunks)
	for name := range strings.SplitSeq(opts.tools, ",") {
		t, err := b.newTool(name)
		if err == nil {
			err = b.runTool(ctx, tw, name, t)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), tw.Flush())
		}
	}
	return tw.Flush()
}

// seedChunks lets all tools store the same chunks.
func (b *chunkBench) seedChunks() { b.rnd = rand.NewChaCha8([32]byte{'c'}) }

func (b *chunkBench) newTool(name string) (chunkTool, error) {
	dir := filepath.Join(b.work, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if name == "cairn" {
		schema := filepath.Join(dir, "schema.yaml")
		return &cairnChunks{tool: tool{name: name, bin: b.cairn}, repo: filepath.Join(dir, "repo"), schema: schema},
			os.WriteFile(schema, []byte("buckets: {demo: {chunking: fine}}\n"), 0o600)
	}
	_, err := exec.LookPath(name)
	return &resticChunks{repo: filepath.Join(dir, "repo"), tool: tool{name: name, bin: name,
		env: []string{"RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR=" + filepath.Join(dir, "cache"), "TMPDIR=" + dir}}}, err
}

// runTool stores all units, then runs the steps, and shows each as it ends.
func (b *chunkBench) runTool(ctx context.Context, tw *tabwriter.Writer, name string, t chunkTool) error {
	defer os.RemoveAll(filepath.Join(b.work, name))
	show := func(step string, r result) error {
		packs, index, err := t.sizes()
		fmt.Fprintf(tw, "%s\t%s\t%.2f\t%.2f\t%.0f\t%.1f\t%.1f\t\n", name, step, r.wall.Seconds(), r.cpu.Seconds(), float64(r.peak)/1e6, float64(packs)/1e6, float64(index)/1e6)
		fmt.Fprintf(os.Stderr, "%s, %s: %.1f s, %.1f s of CPU, %.0f MB\n", name, step, r.wall.Seconds(), r.cpu.Seconds(), float64(r.peak)/1e6)
		return err
	}
	b.seedChunks()
	var sum result
	for n := 0; n*b.batch < b.units; n++ {
		r, err := b.storeBatch(ctx, t, n)
		if err != nil {
			return err
		}
		sum.wall, sum.cpu, sum.peak = sum.wall+r.wall, sum.cpu+r.cpu, max(sum.peak, r.peak)
	}
	if err := show("store", sum); err != nil {
		return err
	}
	for _, s := range t.steps() {
		r, err := s.run(ctx)
		if err == nil && s.name != "" {
			err = show(s.name, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storeBatch makes the units of the n-th batch, stores them, and deletes them.
func (b *chunkBench) storeBatch(ctx context.Context, t chunkTool, n int) (r result, err error) {
	dir, err := os.MkdirTemp(cmp.Or(b.source, b.work), "cairn-bench-units-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	chunks := make([][]byte, b.unit)
	for i := range chunks {
		chunks[i] = bytes.Clone(b.block)
	}
	for u := n * b.batch; u < min((n+1)*b.batch, b.units); u++ {
		for _, c := range chunks {
			b.rnd.Read(c[:chunkRandom])
		}
		if err := t.writeUnit(dir, u, chunks); err != nil {
			return r, err
		}
	}
	return t.store(ctx, dir, n)
}

// nameUnit returns the name of the n-th unit. Those that end with a are one in a
// hundred, those with b 29.
func nameUnit(n int) string {
	when := "c"
	if n%100 == 50 {
		when = "a"
	} else if n%10 < 3 {
		when = "b"
	}
	return fmt.Sprintf("unit%06d-%s", n, when)
}

// makeBlock returns a block that is cut off at its end wherever it comes after a
// cut, whatever its first bytes are.
func makeBlock() ([]byte, error) {
	s, err := chunker.Profile("fine")
	if err != nil {
		return nil, err
	}
	for i := range 1 << 20 {
		block := bytes.Repeat([]byte(fmt.Sprintf("%016d", i)), s.Min()/16)
		if long := append(block, block...); s.Split(long) == len(block) {
			return block, nil
		}
	}
	return nil, errors.New("nothing is cut after its shortest chunk")
}

// treeSizes sums the files below directories, of which some may not exist.
func treeSizes(dirs ...string) (n int64, err error) {
	for _, dir := range dirs {
		size, err := treeSize(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		n += size
	}
	return n, nil
}

// A cairnChunks is a directory of Cairn.
type cairnChunks struct {
	tool
	repo, schema string
	ids          map[byte][]string // of files, by the last letters of their names
}

func (t *cairnChunks) writeUnit(dir string, n int, chunks [][]byte) error {
	return os.WriteFile(filepath.Join(dir, nameUnit(n)), bytes.Join(chunks, nil), 0o600)
}

func (t *cairnChunks) runCommand(ctx context.Context, args ...string) (result, error) {
	line := append([]string{t.bin, args[0], "--data", t.repo, "--schema", t.schema}, args[1:]...)
	return t.measure(ctx, strings.NewReplacer(), line)
}

func (t *cairnChunks) store(ctx context.Context, dir string, n int) (result, error) {
	return t.runCommand(ctx, "put", "--bucket", "demo", "--digests", "none", "--folder", strconv.Itoa(n), dir)
}

func (t *cairnChunks) sizes() (packs, index int64, err error) {
	if packs, err = treeSizes(filepath.Join(t.repo, "packs")); err != nil {
		return packs, 0, err
	}
	index, err = treeSizes(filepath.Join(t.repo, "meta"))
	return packs, index, err
}

// listFiles notes the IDs of the files.
func (t *cairnChunks) listFiles(ctx context.Context) (r result, err error) {
	out, err := exec.CommandContext(ctx, t.bin, "ls", "--data", t.repo, "--schema", t.schema, "demo").Output()
	t.ids = make(map[byte][]string)
	for line := range strings.Lines(string(out)) {
		id, rest, _ := strings.Cut(line, " ")
		if _, when, ok := strings.Cut(rest, "unit"); ok {
			t.ids[when[len("000000-")]] = append(t.ids[when[len("000000-")]], "demo/"+id)
		}
	}
	return r, err
}

func (t *cairnChunks) steps() []chunkStep {
	command := func(args ...string) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) { return t.runCommand(ctx, args...) }
	}
	remove := func(when byte) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) {
			return t.runCommand(ctx, append([]string{"rm", "--permanent"}, t.ids[when]...)...)
		}
	}
	// Without its database a store is made anew from the packs.
	meta := filepath.Join(t.repo, "meta")
	lose := func(context.Context) (r result, err error) { return r, os.Rename(meta, meta+"-lost") }
	restore := func(context.Context) (r result, err error) { return r, os.Rename(meta+"-lost", meta) }
	return []chunkStep{
		{"", t.listFiles},
		{"open, read one", func(ctx context.Context) (result, error) {
			return t.runCommand(ctx, "get", t.ids['c'][0], "-o", filepath.Join(t.repo, "one"))
		}},
		{"collect, nothing dead", command("gc")},
		{"remove 1 %", remove('a')},
		{"collect", command("gc")},
		{"remove 29 %", remove('b')},
		{"collect all", command("gc", "--full")},
		{"", lose},
		{"rebuild", func(ctx context.Context) (result, error) { // it ends with 1, since something is to be mended
			return t.measure(ctx, strings.NewReplacer(), []string{"sh", "-c", `"$0" check --data "$1" --schema "$2" --repair --dry-run; test $? = 1`, t.bin, t.repo, t.schema})
		}},
		{"", restore},
		{"check", command("check")},
	}
}

// A resticChunks is a repository of restic.
type resticChunks struct {
	tool
	repo string
	file string // one that stays
}

func (t *resticChunks) writeUnit(dir string, n int, chunks [][]byte) error {
	unit := filepath.Join(dir, nameUnit(n))
	if err := os.Mkdir(unit, 0o700); err != nil {
		return err
	}
	for i, c := range chunks {
		if err := os.WriteFile(filepath.Join(unit, strconv.Itoa(i)), c, 0o600); err != nil {
			return err
		}
	}
	if strings.HasSuffix(unit, "c") {
		t.file = filepath.Join(unit, "0")
	}
	return nil
}

func (t *resticChunks) runCommand(ctx context.Context, args ...string) (result, error) {
	return t.measure(ctx, strings.NewReplacer(), append([]string{t.bin, "-q", "-r", t.repo}, args...))
}

// store makes three snapshots of a batch, of which the later share what they have
// with the first. So what is removed with a snapshot lies between what stays.
func (t *resticChunks) store(ctx context.Context, dir string, n int) (result, error) {
	if n == 0 {
		if r, err := t.runCommand(ctx, "init"); err != nil {
			return r, err
		}
	}
	all, err := t.runCommand(ctx, "backup", "--tag", "all", dir)
	for _, rest := range [][]string{{"--tag", "first", "--exclude", "*-a"}, {"--tag", "last", "--exclude", "*-a", "--exclude", "*-b"}} {
		if err == nil {
			_, err = t.runCommand(ctx, append(append([]string{"backup"}, rest...), dir)...)
		}
	}
	return all, err
}

func (t *resticChunks) listSnapshots(ctx context.Context, tag string) (ids []string, err error) {
	cmd := exec.CommandContext(ctx, t.bin, "-q", "-r", t.repo, "snapshots", "--json", "--tag", tag)
	cmd.Env = append(os.Environ(), t.env...)
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []struct{ ID string }
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, err
	}
	for _, s := range all {
		ids = append(ids, s.ID)
	}
	return ids, nil
}

func (t *resticChunks) sizes() (packs, index int64, err error) {
	if packs, err = treeSizes(filepath.Join(t.repo, "data")); err != nil {
		return packs, 0, err
	}
	index, err = treeSizes(filepath.Join(t.repo, "index"))
	return packs, index, err
}

func (t *resticChunks) steps() []chunkStep {
	command := func(args ...string) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) { return t.runCommand(ctx, args...) }
	}
	forget := func(tag string) func(context.Context) (result, error) {
		return func(ctx context.Context) (r result, err error) {
			ids, err := t.listSnapshots(ctx, tag)
			if err != nil {
				return r, err
			}
			return t.runCommand(ctx, append([]string{"forget"}, ids...)...)
		}
	}
	return []chunkStep{
		{"open, read one", func(ctx context.Context) (result, error) { return t.runCommand(ctx, "dump", "latest", t.file) }},
		{"collect, nothing dead", command("prune")},
		{"remove 1 %", forget("all")},
		{"collect", command("prune")},
		{"remove 29 %", forget("first")},
		{"collect all", command("prune", "--max-unused", "0")},
		{"rebuild", command("rebuild-index", "--read-all-packs")},
		{"check", command("check", "--read-data")},
	}
}
