package main

import (
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A SIGHUP applies the schema: all of it, or nothing of a wrong one.
func TestReload(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	file := filepath.Join(t.TempDir(), "schema.yaml")
	write(t, file, "buckets: {a: {}}\n")
	srv := start(t, buildCairn(t), t.TempDir(), "--schema", file)
	defer srv.kill()
	status := func(method, path string) int {
		t.Helper()
		r, err := http.NewRequest(method, srv.url+path, strings.NewReader("content"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	reload := func(text string) {
		t.Helper()
		write(t, file, text)
		if err := srv.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	has := func(bucket string) bool { return status("GET", "/api/files/"+bucket) == 200 }
	until := func(bucket string) {
		t.Helper()
		for range 500 {
			if has(bucket) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("bucket %s does not come", bucket)
	}
	reload("buckets: {a: {}, b: {}}\n")
	until("b")
	if got := status("POST", "/api/files/a?name=f"); got != 201 {
		t.Fatalf("upload: %d", got)
	}
	reload("buckets: {a: {}, b: {}, c: {}, D: {}}\n") // a bad name
	reload("buckets: {b: {}, d: {}}\n")               // a holds a file
	reload("not: [yaml\n")
	reload("buckets: {a: {max_file_size: 3}, e: {}}\n")
	until("e")
	for bucket, want := range map[string]bool{"a": true, "b": false, "c": false, "d": false} {
		if has(bucket) != want {
			t.Errorf("bucket %s is there: %t, want %t", bucket, !want, want)
		}
	}
	if got := status("POST", "/api/files/a?name=g"); got != 413 {
		t.Errorf("beyond the new limit: %d", got)
	}
}
