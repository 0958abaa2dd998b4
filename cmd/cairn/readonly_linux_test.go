package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/unwritable"
)

// What commands do with a store that may not be written to.
const (
	reads    = "reads"   // the command does all its work
	refused  = "refused" // it says that the store takes no changes
	storeOut = "not about a store"
)

// A readOnlyCommand is what a command does there. In args, OUT is an empty directory,
// FILE a file.
type readOnlyCommand struct{ does, args string }

// readOnlyCommands are all commands.
func readOnlyCommands() map[string]readOnlyCommand {
	return map[string]readOnlyCommand{
		"ls": {reads, "ls demo"}, "stat": {reads, "stat demo/a.txt"}, "versions": {reads, "versions demo/a.txt"}, "refs": {reads, "refs demo/a.txt"},
		"get": {reads, "get -r demo -o OUT"}, "check": {reads, "check"}, "dump": {reads, "dump _alyx_files"},
		"gc preview": {reads, "gc preview --delete demo/a.txt"}, "gc explain": {reads, "gc explain demo/a.txt"},
		"scrub": {reads, "scrub --all"}, "scrub status": {reads, "scrub status"}, "keys ls": {reads, "keys ls"}, "links ls": {reads, "links ls"},
		"report usage": {reads, "report usage"}, "report dedup": {reads, "report dedup"}, "report fragmentation": {reads, "report fragmentation"},
		"report gc": {reads, "report gc"}, "report orphans": {reads, "report orphans"},
		"buckets": {reads, "buckets"}, "rules explain": {reads, "rules explain read demo/a.txt"},

		"put": {refused, "put FILE"}, "cp": {refused, "cp demo/a.txt demo/b.txt"}, "mv": {refused, "mv demo/a.txt demo/b.txt"}, "rm": {refused, "rm demo/a.txt"},
		"restore": {refused, "restore --version 1 demo/a.txt"}, "gc": {refused, "gc"}, "migrate": {refused, "migrate --bucket demo --to local"},
		"keys create": {refused, "keys create --operator"}, "keys rm": {refused, "keys rm k_none"}, "keys rotate-signing": {refused, "keys rotate-signing"},
		"links forget": {refused, "links forget --yes host"},

		// There is no host to show; TestServeReadOnly serves; the rest of gc asks a server.
		"links show": {does: storeOut}, "serve": {does: storeOut},
		"gc status": {does: storeOut}, "gc pause": {does: storeOut}, "gc resume": {does: storeOut},

		"import alyx": {does: storeOut}, "backend probe": {does: storeOut}, "rules test": {does: storeOut}, "schema check": {does: storeOut},
		"schema keys": {does: storeOut}, "schema json": {does: storeOut}, "token": {does: storeOut}, "doctor": {does: storeOut}, "version": {does: storeOut},
		"health":     {does: storeOut},
		"completion": {does: storeOut}, "sign": {does: storeOut},
	}
}

// readOnlyVariants are further command lines of theirs.
func readOnlyVariants() []readOnlyCommand {
	return []readOnlyCommand{
		{reads, "get demo/a.txt"}, {reads, "ls --json --trash demo"}, {reads, "gc --dry-run"}, {reads, "check --repair --dry-run"},
		{refused, "check --repair"}, {refused, "rm --permanent demo/a.txt"}, {refused, "gc --full"}, {reads, "ls"}, {refused, "restore demo/gone.txt"},
	}
}

// Every command that only reads works on a store that may not be written to, also
// after its process was killed; every other says so. Nothing in the store changes.
func TestReadOnly(t *testing.T) {
	race.LeaveOut(t)
	all := readOnlyVariants()
	for name, c := range readOnlyCommands() {
		if c.args != "" && !strings.HasPrefix(c.args+" ", name+" ") {
			t.Errorf("%s: %s", name, c.args)
		}
		all = append(all, c)
	}
	for _, way := range unwritable.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			dir := killedStore(t)
			dir = way.Make(t, dir)
			before := unwritable.List(t, dir)
			s := &shell{t, []string{"--data", dir}}
			out, err := os.MkdirTemp("", "cairn-") // as the user of this way
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(out) })
			file := write(t, filepath.Join(out, "new.txt"), "new")
			for i, c := range all {
				args := strings.Fields(strings.NewReplacer("FILE", file, "OUT", filepath.Join(out, strconv.Itoa(i))).Replace(c.args))
				switch c.does {
				case reads:
					s.run(0, "", args...)
				case refused:
					if _, stderr := s.run(1, "", args...); !strings.Contains(stderr, "the store takes no changes now") || !strings.Contains(stderr, way.Errno.Error()) || strings.Count(stderr, "\n") != 1 {
						t.Errorf("%s: %s", c.args, stderr)
					}
				}
			}
			if got, _ := s.run(0, "", "get", "demo/a.txt"); got != "two" {
				t.Errorf("get: %q", got)
			}
			if after := unwritable.List(t, dir); after != before {
				t.Errorf("before\n%safter\n%s", before, after)
			}
		})
	}
}

// killedStore returns a store as a process leaves it that is killed.
func killedStore(t *testing.T) string {
	t.Helper()
	dir, image, file := newStore(t), filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "a.txt")
	s := &shell{t, []string{"--data", dir}}
	s.run(0, "", "put", write(t, file, "one"))
	s.run(0, "", "put", write(t, file, "two"))
	s.run(0, "", "put", write(t, filepath.Join(t.TempDir(), "gone.txt"), "gone"))
	s.run(0, "", "rm", "demo/gone.txt")
	store, err := local.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Bucket("demo")
	if err == nil {
		_, err = b.Put(t.Context(), "late.txt", strings.NewReader("late"), nil)
	}
	if err == nil {
		err = os.CopyFS(image, os.DirFS(dir))
	}
	if cerr := store.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return image
}

// Every command is in the table.
func TestReadOnlyTable(t *testing.T) {
	table := readOnlyCommands()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			name := strings.TrimPrefix(c.CommandPath(), "cairn ")
			isGroup := c.HasSubCommands() && !slices.Contains([]string{"gc", "scrub"}, name)
			if _, ok := table[name]; !ok && !isGroup && name != "help" {
				t.Errorf("%s: what does it do with a store that may not be written to? Tell it in readOnlyCommands", name)
			}
			walk(c)
		}
	}
	walk(newRoot(&target{}))
}

// A server of a store that may not be written to answers what is read, is not ready,
// and says why.
func TestServeReadOnly(t *testing.T) {
	race.LeaveOut(t)
	for _, way := range unwritable.Ways() {
		t.Run(way.Name, func(t *testing.T) {
			dir := way.Make(t, killedStore(t))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			read, stdout := io.Pipe()
			var stderr bytes.Buffer
			ended := make(chan int)
			go func() {
				ended <- run(ctx, []string{"serve", "--dev", "--addr", "127.0.0.1:0", "--data", dir}, nil, stdout, &stderr)
				stdout.Close()
			}()
			lines := bufio.NewReader(read)
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			go io.Copy(io.Discard, lines)
			url := strings.TrimSpace(line[strings.Index(line, "http://"):])
			for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/api/files/demo": 200} {
				resp, err := http.Get(url + path)
				if err != nil {
					t.Fatal(err)
				}
				if resp.Body.Close(); resp.StatusCode != want {
					t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
				}
			}
			stop()
			if status := <-ended; status != 0 || !strings.Contains(stderr.String(), "changes are refused, reads go on") || !strings.Contains(stderr.String(), way.Errno.Error()) {
				t.Errorf("status %d: %s", status, &stderr)
			}
		})
	}
}
