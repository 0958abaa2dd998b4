package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/internal/race"
)

// An auditLine is what a line of an audit says.
type auditLine struct {
	Commit uint64
	N      int
	buckets.AuditEntry
}

func readAudit(t *testing.T, names ...string) (out []auditLine) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var l auditLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			out = append(out, l)
		}
	}
	return out
}

// TestAuditKill kills a server while clients store and delete files, and the file of the
// audit is moved away. Every change that was acknowledged has its line after a restart.
func TestAuditKill(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	bin, dir := buildCairn(t), t.TempDir()
	name := filepath.Join(t.TempDir(), "audit.log")
	files := []string{}
	var mu sync.Mutex
	var acked []string
	ack := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		acked = append(acked, what)
	}
	for round := range soak(4) {
		srv := start(t, bin, dir, "--audit-log", name)
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				for n := 0; ; n++ {
					resp, err := http.Post(fmt.Sprintf("%s/api/files/demo?name=f-%d-%d-%d", srv.url, round, w, n), "text/plain", strings.NewReader(fmt.Sprint(round, w, n)))
					if err != nil {
						return
					}
					var f struct{ ID string }
					err = json.NewDecoder(resp.Body).Decode(&f)
					resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusCreated {
						return
					}
					ack("file.create " + f.ID)
					r, _ := http.NewRequest("DELETE", srv.url+"/api/files/demo/"+f.ID, nil)
					if resp, err = http.DefaultClient.Do(r); err != nil {
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK {
						return
					}
					ack("file.trash " + f.ID)
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		if moved := fmt.Sprint(name, ".", round); os.Rename(name, moved) == nil {
			files = append(files, moved)
		}
		if round%2 == 0 && runtime.GOOS != "windows" {
			srv.cmd.Process.Signal(syscall.SIGHUP)
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		srv.kill()
		wg.Wait()
	}
	s := &shell{t, []string{"--data", dir, "--config", write(t, filepath.Join(t.TempDir(), "alyx.yml"), "server: {audit: {file: "+name+", names: true}}\n")}}
	s.run(0, "", "put", write(t, filepath.Join(t.TempDir(), "by-command"), "x")) // writes what waits, and its own
	lines := readAudit(t, append(files, name)...)
	at := make(map[string]string)
	for _, l := range lines {
		what, number := l.Action+" "+l.File, fmt.Sprint(l.Commit, " ", l.N)
		if was, again := at[what]; again && was != number && l.File != "" {
			t.Errorf("%s has numbers %s and %s", what, was, number)
		}
		at[what] = number
	}
	for _, what := range acked {
		if at[what] == "" {
			t.Errorf("no line of %s", what)
		}
	}
	t.Logf("%d changes acknowledged, %d lines, %d files", len(acked), len(lines), len(files)+1)
	last := lines[len(lines)-1]
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if last.Actor.Kind != "command line" || last.Actor.Name != me.Username || last.Action != "file.create" || last.Path != "by-command" {
		t.Errorf("the line of a command: %+v", last)
	}
}

// Who deleted this? The audit says it of a request with a token, of a key, and of a
// signed URL, has the number of the request's commit, and none of what opens anything.
func TestAuditOfServer(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
	name := filepath.Join(t.TempDir(), "audit.log")
	flags := declared(t, goodConfig+"server: {audit: {file: "+name+", names: true}}\n",
		"buckets:\n  notes: {backend: local, rules: {create: 'true', read: 'true', update: 'true', delete: 'true'}}\n")
	log := &logBuffer{}
	srv := startLogged(t, buildCairn(t), log, append(flags, "--log-format", "json", "--log-level", "debug")...)
	bearer, _ := (&shell{t, flags[2:4]}).run(0, "", "token", "ann", "--expires", "5m")
	bearer = strings.TrimSpace(bearer)
	send := func(method, path, body, token string, out any) {
		t.Helper()
		r, err := http.NewRequest(method, srv.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "idem-0123456789")
		if body == "{}" {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
		if out != nil {
			if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
				t.Fatal(err)
			}
		}
	}
	var f struct{ ID string }
	send("POST", "/api/files/notes?name=a.txt", "content", bearer, &f)
	var signed struct{ Token string }
	send("POST", "/api/files/notes/_sign-upload", "{}", bearer, &signed)
	send("POST", "/api/files/notes?name=b.txt&token="+signed.Token, "by URL", "", nil)
	send("DELETE", "/api/files/notes/"+f.ID, "", bearer, nil)
	srv.stop(t)
	lines := readAudit(t, name)
	find := func(action, path string) (l auditLine) {
		t.Helper()
		for _, l := range lines {
			if l.Action == action && l.Path == path {
				return l
			}
		}
		t.Errorf("no line %s %s in %+v", action, path, lines)
		return l
	}
	if l := find("file.trash", "a.txt"); l.Actor.Kind != "user" || l.Actor.User != "ann" || l.File != f.ID || l.Bucket != "notes" {
		t.Errorf("who deleted this: %+v", l)
	}
	if l := find("file.create", "b.txt"); l.Actor.Kind != "signed-url" || l.Actor.Grant == "" || !strings.HasPrefix(signed.Token, l.Actor.Grant) {
		t.Errorf("by a signed URL: %+v", l)
	}
	if l := find("schema.apply", ""); l.Actor.Kind != "start" || !slices.Equal(l.Buckets, []string{"notes"}) {
		t.Errorf("the start: %+v", l)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string]string{"token": bearer[strings.LastIndex(bearer, ".")+1:], "signed URL": signed.Token[strings.LastIndex(signed.Token, ".")+1:],
		"idempotency key": "idem-0123456789", "secret of tokens": "0123456789abcdef0123456789abcdef"} {
		if strings.Contains(string(text), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("the audit or the log has a secret: %s", what)
		}
	}
	if s := log.lines(t, "start"); len(s) != 1 || s[0]["audit"] != name {
		t.Errorf("start: %v", s)
	}
}

// A file that cannot be opened is told before anything is served.
func TestAuditRefused(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	_, stderr := (&shell{t, []string{"--data", t.TempDir()}}).run(1, "", "serve", "--dev", "--addr", "127.0.0.1:0", "--audit-log", filepath.Join(file, "audit.log"))
	if !strings.Contains(stderr, "--audit-log") || !strings.Contains(stderr, file) {
		t.Errorf("told %q", stderr)
	}
}
