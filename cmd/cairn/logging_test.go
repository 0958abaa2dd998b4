package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

// A logBuffer may be written and read side by side.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines are those of a log in JSON that have a message.
func (l *logBuffer) lines(t *testing.T, message string) (out []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		line := map[string]any{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if line["msg"] == message {
			out = append(out, line)
		}
	}
	return out
}

// await returns the lines with a message when there are n.
func (l *logBuffer) await(t *testing.T, message string, n int) []map[string]any {
	t.Helper()
	for range 1000 {
		if lines := l.lines(t, message); len(lines) >= n {
			return lines
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not %d lines %q in\n%s", n, message, l)
	return nil
}

// What is wrong with the flags is told before anything is opened.
func TestLogFlags(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"--log-level", "loud", "debug, info, warn, error"}, {"--log-level", "INFO", "debug"}, {"--log-format", "xml", "text, json"},
	} {
		_, stderr := (&shell{t, []string{"--data", t.TempDir()}}).run(2, "", "serve", "--dev", c.flag, c.value)
		if !strings.Contains(stderr, c.flag) || !strings.Contains(stderr, c.value) || !strings.Contains(stderr, c.want) {
			t.Errorf("%s %s: told %q", c.flag, c.value, stderr)
		}
	}
}

// Flags win over alyx.yml, which wins over the defaults.
func TestLogLevelAndFormat(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
	bin := buildCairn(t)
	for what, c := range map[string]struct {
		config      string
		flags       []string
		json, debug bool
		silent      bool // no lines at level info
	}{
		"defaults": {},
		"the file": {config: "server: {log: {level: debug, format: json}}\n", json: true, debug: true},
		"flags":    {config: "server: {log: {level: debug, format: json}}\n", flags: []string{"--log-level", "error", "--log-format", "text"}, silent: true},
	} {
		t.Run(what, func(t *testing.T) {
			flags := append(declared(t, goodConfig+c.config, goodSchema), c.flags...)
			log := &logBuffer{}
			srv := startLogged(t, bin, log, flags...)
			if resp, err := http.Get(srv.url + "/api/files/notes"); err == nil {
				resp.Body.Close()
			}
			srv.stop(t)
			text := log.String()
			if strings.HasPrefix(text, "{") != c.json || strings.Contains(text, "DEBUG") != c.debug && c.debug || strings.Contains(text, "start") == c.silent {
				t.Errorf("logged:\n%s", text)
			}
		})
	}
}

// stop ends a server as a supervisor does.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// The log begins with what is served and ends with why no more.
func TestStartAndStopLines(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
	flags := declared(t, goodConfig+"server: {rate_limit: 7, max_connections: 50}\n", "buckets:\n  notes: {max_file_size: 5MiB}\n  other: {}\n")
	log := &logBuffer{}
	srv := startLogged(t, buildCairn(t), log, append(flags, "--log-format", "json")...)
	srv.stop(t)
	starts, stops := log.lines(t, "start"), log.lines(t, "stop")
	if len(starts) != 1 || len(stops) != 1 || !strings.HasPrefix(log.String(), "{") || !strings.Contains(lastLine(log.String()), `"stop"`) {
		t.Fatalf("logged:\n%s", log)
	}
	start, limits := starts[0], starts[0]["limits"].(map[string]any)
	if start["version"] == "" || start["commit"] == nil || start["address"] != strings.TrimPrefix(srv.url, "http://") || len(start["schema_sha256"].(string)) != 16 || start["buckets"] != 2. ||
		!strings.HasSuffix(start["schema"].(string), "schema.yaml") || !slices.Equal(start["backends"].([]any), []any{"local=filesystem"}) || start["dev"] != false ||
		limits["rate_limit"] != 7. || limits["max_connections"] != 50. || limits["max_concurrent"] != 256. {
		t.Errorf("start: %v", start)
	}
	buckets := log.lines(t, "bucket")
	if len(buckets) != 2 || buckets[0]["bucket"] != "notes" || buckets[0]["max_file_size"] != float64(5<<20) || buckets[0]["backend"] != "local" {
		t.Errorf("buckets: %v", buckets)
	}
	stop := stops[0]
	if ran, err := time.ParseDuration(stop["ran"].(string)); err != nil || ran <= 0 || !strings.Contains(stop["why"].(string), "terminated") || stop["cut"] == nil || stop["level"] != "INFO" {
		t.Errorf("stop: %v", stop)
	}
	if strings.Contains(log.String(), "0123456789abcdef0123456789abcdef") {
		t.Error("the log has the secret of tokens")
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// A SIGHUP says key by key what it has applied, and names what needs a restart,
// without the values of secrets.
func TestReloadLines(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	flags := declared(t, goodConfig, "buckets:\n  notes: {max_file_size: 5MiB, rules: {read: 'true'}}\n  old: {}\n")
	config, schema := flags[3], flags[5]
	log := &logBuffer{}
	srv := startLogged(t, buildCairn(t), log, append(flags, "--log-format", "json")...)
	defer srv.kill()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	applied := 0
	reload := func() {
		t.Helper()
		if err := srv.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		applied++
		log.await(t, "schema applied", applied)
	}
	write(t, schema, "buckets:\n  notes: {max_file_size: 6MiB, rules: {read: 'auth.id != null'}}\n  new: {}\n")
	secret := strings.Repeat("another secret ", 4)
	write(t, config, strings.Replace(string(text), strings.Repeat("0123456789abcdef", 2), secret, 1)+"server: {rate_limit: 9, log: {level: debug}}\n")
	reload()
	var got []string
	for _, l := range log.lines(t, "bucket changed") {
		got = append(got, l["bucket"].(string)+" "+l["key"].(string)+": "+l["from"].(string)+" → "+l["to"].(string))
	}
	if want := []string{"notes max_file_size: 5.0 MiB → 6.0 MiB", "notes rules.read: true → auth.id != null"}; !slices.Equal(got, want) {
		t.Errorf("changed: %q", got)
	}
	added, removed, restart := log.lines(t, "bucket added"), log.lines(t, "bucket removed"), log.lines(t, "these keys have changed and need a restart")
	if len(added) != 1 || added[0]["bucket"] != "new" || len(removed) != 1 || removed[0]["bucket"] != "old" {
		t.Errorf("added %v, removed %v", added, removed)
	}
	if len(restart) != 1 || !slices.Equal(restart[0]["keys"].([]any), []any{"auth.jwt.secret", "server.rate_limit"}) || restart[0]["level"] != "WARN" {
		t.Errorf("needs a restart: %v", restart)
	}
	if l := log.lines(t, "schema applied"); l[0]["changes"] != 4. || l[0]["schema_sha256"] == log.lines(t, "start")[0]["schema_sha256"] {
		t.Errorf("applied: %v", l)
	}
	if l := log.lines(t, "log level changed"); len(l) != 1 || l[0]["log_level"] != "debug" {
		t.Errorf("level: %v", l)
	}
	resp, err := http.Get(srv.url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	log.await(t, "request", 1) // at level debug
	reload()                   // nothing more has changed; what needs a restart still does
	if n := len(log.lines(t, "bucket changed")); n != 2 {
		t.Errorf("%d lines of changes", n)
	}
	log.await(t, "these keys have changed and need a restart", 2)
	write(t, schema, "buckets: {notes: {max_file_size: none}}\n")
	if err := srv.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if l := log.await(t, "nothing applied", 1); !strings.Contains(l[0]["error"].(string), "schema.yaml:1:") {
		t.Errorf("a bad schema: %v", l)
	}
	if strings.Contains(log.String(), secret) {
		t.Error("the log has the secret of tokens")
	}
}
