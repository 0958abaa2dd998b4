package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/internal/s3test"
)

const demoRules = "buckets:\n  demo: {rules: {create: \"true\", read: \"true\"}}\n"

// s3Config is an alyx.yml of one backend in S3 with a schema.
func s3Config(t *testing.T, s *s3test.Server, schema string) []string {
	o := s.Options(t)
	return declared(t, fmt.Sprintf(`
auth: {jwt: {secret: a secret of at least 32 bytes for sure}}
storage:
  backends:
    far:
      type: s3
      s3: {bucket: %q, prefix: %q, endpoint: %q, region: %q, access_key_id: %q, secret_access_key: %q, force_path_style: %v, single_writer: %v}
`, o.Bucket, o.Prefix, o.Endpoint, o.Region, o.AccessKeyID, o.SecretAccessKey, o.PathStyle, s.SingleWriter), schema)
}

// The command line works on S3 as it does on disk, and S3 alone is enough.
func TestS3(t *testing.T) {
	race.LeaveOut(t)
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		sh := &shell{t, s3Config(t, s, demoRules)}
		if out, _ := sh.with("--config").run(0, "", "backend", "probe", "far"); strings.Count(out, " good") < 10 {
			t.Errorf("probe: %s", out)
		}
		sh.with("--config").run(1, "", "backend", "probe", "near")
		dir := t.TempDir()
		big := make([]byte, 5<<20)
		rand.NewChaCha8([32]byte{1}).Read(big)
		for i := range 20 {
			write(t, filepath.Join(dir, "tree", fmt.Sprintf("f%02d", i)), fmt.Sprintf("file %d", i))
		}
		write(t, filepath.Join(dir, "tree", "sub", "big"), string(big))
		sh.run(0, "", "put", filepath.Join(dir, "tree"))
		sh.run(0, "second", "put", "--name", "f00", "-")
		sh.run(0, "", "rm", "demo/f01")
		same := func(when string) {
			t.Helper()
			out := filepath.Join(t.TempDir(), "out")
			sh.run(0, "", "get", "--recursive", "demo", "-o", out)
			for name, want := range map[string]string{"f00": "second", "f02": "file 2", "sub/big": string(big)} {
				if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
					t.Errorf("%s: %s: %d other bytes, %v", when, name, len(got), err)
				}
			}
			if v, _ := sh.run(0, "", "get", "--version", "1", "demo/f00"); v != "file 0" {
				t.Errorf("%s: the first version is %q", when, v)
			}
			if got, err := os.ReadFile(filepath.Join(out, "f01")); err == nil {
				t.Errorf("%s: what is in the trash is listed: %q", when, got)
			}
		}
		same("stored")
		sh.run(0, "", "check")

		if err := os.RemoveAll(filepath.Join(sh.target[1], "meta")); err != nil {
			t.Fatal(err)
		}
		// A new database makes another store, and the packs are the old one's.
		if _, why := sh.run(1, "", "check", "--repair"); !strings.Contains(why, "--take-ownership") {
			t.Errorf("rebuild of packs that are another's: %s", why)
		}
		out, _ := sh.run(0, "", "check", "--repair", "--take-ownership", "--json")
		var report struct {
			OK, Rebuilt bool
			Files       int
		}
		// One of them is the marker of the folder sub.
		if err := json.Unmarshal([]byte(out), &report); err != nil || !report.OK || !report.Rebuilt || report.Files != 22 {
			t.Errorf("rebuild: %v %s", err, out)
		}
		same("rebuilt")

		for _, args := range sh.target {
			if strings.HasSuffix(args, "data") {
				if packs, _ := filepath.Glob(filepath.Join(args, "packs", "*")); len(packs) > 0 {
					t.Errorf("packs on disk: %v", packs)
				}
			}
		}
	})
}

// A bucket moves from a directory to S3, whoever holds the store: this
// process, or a server that goes on serving it. After that S3 is enough.
func TestMigrate(t *testing.T) {
	race.LeaveOut(t)
	s3test.Each(t, func(t *testing.T, s *s3test.Server) {
		sh := &shell{t, s3Config(t, s, "buckets:\n  demo: {backend: near, rules: {create: \"true\", read: \"true\", download: \"true\"}}\n")}
		data, config := sh.target[1], sh.target[3]
		near := filepath.Join(t.TempDir(), "near")
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		write(t, config, string(text)+fmt.Sprintf("    near: {type: filesystem, filesystem: {path: %q}}\n", near))
		big := make([]byte, 5<<20)
		rand.NewChaCha8([32]byte{2}).Read(big)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "big"), string(big))
		sh.run(0, "", "put", filepath.Join(dir, "big"))
		sh.run(0, "first", "put", "--name", "f", "-")
		sh.run(0, "second", "put", "--name", "f", "-")

		for _, bad := range [][]string{{"--bucket", "demo"}, {"--to", "far"}} {
			sh.run(2, "", append([]string{"migrate"}, bad...)...)
		}
		if _, why := sh.run(1, "", "migrate", "--bucket", "demo", "--to", "fra"); !strings.Contains(why, `"fra"`) {
			t.Errorf("to no backend: %s", why)
		}
		out, _ := sh.run(0, "", "migrate", "--bucket", "demo", "--to", "far")
		if !strings.Contains(out, "2 files, 3 versions") || !strings.Contains(out, "say backend: far") {
			t.Errorf("migrate says %q", out)
		}
		same := func(when string) {
			t.Helper()
			if got, _ := sh.run(0, "", "get", "demo/big"); got != string(big) {
				t.Errorf("%s: other bytes", when)
			}
			for _, v := range []string{"first", "second"} {
				if got, _ := sh.run(0, "", "get", "--version", fmt.Sprint(strings.Index("first second", v)/6+1), "demo/f"); got != v {
					t.Errorf("%s: %q for %q", when, got, v)
				}
			}
			sh.run(0, "", "check")
		}
		same("moved, by the schema of before")
		schema := sh.target[5]
		write(t, schema, strings.Replace(demoRules, "demo: {", "demo: {backend: far, ", 1))
		same("moved, by the schema of after")

		for _, lost := range []string{near, filepath.Join(data, "meta")} {
			if err := os.RemoveAll(lost); err != nil {
				t.Fatal(err)
			}
		}
		sh.run(0, "", "check", "--repair", "--take-ownership")
		same("rebuilt from S3 alone")
	})
}

// The probe refuses what would refuse to serve, and names the same setting.
func TestProbeRefuses(t *testing.T) {
	race.LeaveOut(t)
	s := s3test.Quirky(t, s3test.NoConditions)
	for _, promised := range []bool{false, true} {
		s.SingleWriter = promised
		sh := &shell{t, s3Config(t, s, demoRules)}
		status := 1
		if promised {
			status = 0
		}
		probed, _ := sh.with("--config").run(status, "", "backend", "probe", "far")
		_, said := sh.run(status, "x", "put", "--name", "x", "-")
		for what, text := range map[string]string{"probe": probed, "put": said} {
			if strings.Contains(text, "set single_writer: true") == promised {
				t.Errorf("%s, promised %v: %s", what, promised, text)
			}
		}
		if promised {
			if again, _ := sh.with("--config").run(0, "", "backend", "probe", "far"); !strings.Contains(again, "--take-ownership") {
				t.Errorf("the probe does not tell the owner: %s", again)
			}
		}
	}
}
