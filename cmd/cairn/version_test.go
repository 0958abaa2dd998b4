package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"
)

// A build is named by what the linker was told, or by what Go has noted.
func TestVersionOf(t *testing.T) {
	noted := func(version, revision, modified string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for key, v := range map[string]string{"vcs.revision": revision, "vcs.modified": modified} {
			if v != "" {
				info.Settings = append(info.Settings, debug.BuildSetting{Key: key, Value: v})
			}
		}
		return info
	}
	const pseudo = "v0.0.0-20261130005157-b46c8e5d3a1f"
	for name, c := range map[string]struct {
		info            *debug.BuildInfo
		version, commit string
		want            build
	}{
		"a release":                  {noted("(devel)", "", ""), "1.2.0", "b46c", build{Version: "1.2.0", Commit: "b46c"}},
		"a clone with a tag":         {noted("v1.2.0", "b46c", "false"), "", "", build{Version: "1.2.0", Commit: "b46c"}},
		"a clone without tags":       {noted(pseudo, "b46c", "false"), "", "", build{Version: pseudo[1:], Commit: "b46c"}},
		"a clone with changes":       {noted(pseudo+"+dirty", "b46c", "true"), "", "", build{Version: pseudo[1:] + "+dirty", Commit: "b46c", Modified: true}},
		"go install of a version":    {noted("v1.2.0", "", ""), "", "", build{Version: "1.2.0"}},
		"a folder without any notes": {noted("(devel)", "", ""), "", "", build{Version: "unknown"}},
		"nothing":                    {&debug.BuildInfo{}, "", "", build{Version: "unknown"}},
	} {
		got := buildOf(c.info, c.version, c.commit)
		if got.Version != c.want.Version || got.Commit != c.want.Commit || got.Modified != c.want.Modified {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	out, _ := (&shell{t, nil}).run(0, "", "version")
	for _, want := range []string{"cairn ", "\ncommit ", "\nformats: packs 2, database ", ", records 1\n", "\ngo1."} {
		if !strings.Contains(out, want) {
			t.Errorf("version lacks %q: %s", want, out)
		}
	}
	var b build
	out, _ = (&shell{t, nil}).run(0, "", "version", "--json")
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Formats.Packs != 2 || b.Platform == "" || strings.Count(out, "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// health tells by its exit status how a server is, by either question.
func TestHealth(t *testing.T) {
	for _, status := range []int{200, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/base/readyz" {
				w.WriteHeader(status)
			} else if r.URL.Path != "/base/healthz" {
				w.WriteHeader(404)
			}
		}))
		s := &shell{t, []string{"--server", srv.URL + "/base/"}}
		s.run(0, "", "health")
		want := map[int]int{200: 0, 503: 1}[status]
		if out, _ := s.run(want, "", "health", "--ready", "--json"); !strings.Contains(out, `"status":`) || strings.Contains(out, `"ok":true`) != (want == 0) {
			t.Errorf("%d: %s", status, out)
		}
		srv.Close()
		if _, stderr := s.run(1, "", "health"); !strings.Contains(stderr, "cairn: health: ") {
			t.Errorf("no server: %s", stderr)
		}
	}
	for addr, want := range map[string]string{"": "http://127.0.0.1:8090", ":80": "http://127.0.0.1:80", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1", "10.0.0.1:1": "http://10.0.0.1:1"} {
		if got := localURL(addr); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
