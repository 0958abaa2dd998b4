package main

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		token, _ := s.run(0, "", "keys", "create", "--name", "backup", "--bucket", "demo", "--op", "read,download", "--expires", "24h")
		if !strings.HasPrefix(token, "cairn_") || strings.Count(token, "\n") != 1 {
			t.Errorf("printed %q", token)
		}
		s.run(0, "", "keys", "create", "--operator")
		out, _ := s.run(0, "", "keys", "ls")
		if strings.Count(out, "\n") != 2 || !strings.Contains(out, "read,download in demo") || !strings.Contains(out, "operator") || strings.Contains(out, token[25:60]) {
			t.Errorf("listed\n%s", out)
		}
		id := strings.Split(token, "_")[1]
		s.run(0, "", "keys", "rm", id)
		s.run(1, "", "keys", "rm", id)
		if out, _ := s.run(0, "", "keys", "ls"); strings.Contains(out, id) {
			t.Errorf("listed after its end\n%s", out)
		}
		_, stderr := s.run(1, "", "keys", "create", "--bucket", "none", "--op", "read")
		if !strings.Contains(stderr, "no such bucket") {
			t.Errorf("told %q", stderr)
		}
		s.run(1, "", "keys", "create", "--bucket", "demo")
		if out, _ := s.run(0, "", "keys", "rotate-signing"); len(strings.TrimSpace(out)) != 16 {
			t.Errorf("rotated to %q", out)
		}
	})
}
