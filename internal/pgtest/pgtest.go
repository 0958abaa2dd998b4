// Package pgtest gives tests databases of a PostgreSQL server. It starts one for
// the test binary, or uses one that the environment names.
//
//	CAIRN_POSTGRES      directory of the binaries, where they are neither in PATH nor where Debian has them
//	CAIRN_POSTGRES_URL  a running server, which may be one that speaks PostgreSQL's protocol
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const urlVariable = "CAIRN_POSTGRES_URL"

// Main runs the tests of m with a server and returns the exit code. TestMain
// calls it. Without PostgreSQL, tests that call Database are skipped, unless
// CAIRN_POSTGRES is set.
func Main(m *testing.M) int {
	if os.Getenv(urlVariable) != "" {
		return m.Run()
	}
	bin, err := findBinaries()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	if bin == "" {
		fmt.Fprintln(os.Stderr, "pgtest: PostgreSQL is not installed: the tests with it are left out")
		return m.Run()
	}
	s, err := startServer(bin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: start PostgreSQL:", err)
		return 1
	}
	defer s.stopServer()
	os.Setenv(urlVariable, s.url)
	return m.Run()
}

// Database creates an empty database and returns its URL. The end of the test
// drops it.
func Database(t testing.TB) string {
	t.Helper()
	server := os.Getenv(urlVariable)
	if server == "" {
		t.Skip("PostgreSQL is not installed")
	}
	name := "t" + strings.ToLower(rand.Text()[:12])
	if err := runTests(t.Context(), server, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	t.Cleanup(func() {
		if err := runTests(context.Background(), server, "DROP DATABASE "+name); err != nil {
			t.Errorf("drop a database: %v", err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Execute runs a statement on a database.
func Execute(t testing.TB, database, statement string) {
	t.Helper()
	if err := runTests(t.Context(), database, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func runTests(ctx context.Context, server, statement string) error {
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

// findBinaries returns the directory of the server's binaries, or "".
func findBinaries() (string, error) {
	if dir := os.Getenv("CAIRN_POSTGRES"); dir != "" {
		_, err := os.Stat(filepath.Join(dir, "postgres"))
		return dir, err
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		p, err = filepath.EvalSymlinks(p)
		return filepath.Dir(p), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", err
	}
	version := func(p string) int {
		n, _ := strconv.Atoi(strings.Split(p, "/")[4])
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

type server struct {
	url   string
	cmd   *exec.Cmd
	hold  io.Closer // the server runs until this is closed
	log   bytes.Buffer
	ended chan error
}

// script creates a cluster in the directory $1 with the binaries in $2 and runs
// a server on it until standard input ends, which it also does when this process
// is killed. The server listens only on a socket in the directory. It does not
// sync, since a crash of the machine may lose everything. Its collation is not
// the order of bytes, so that a statement that depends on that order must ask
// for it.
const script = `
dir=$1 bin=$2
trap 'rm -rf "$dir"' EXIT
trap '' INT
"$bin/initdb" --pgdata="$dir/data" --username=cairn --auth=trust --no-sync --encoding=UTF8 \
	--locale=C.UTF-8 --locale-provider=icu --icu-locale=en >/dev/null || exit
"$bin/postgres" -D "$dir/data" -k "$dir" -p 5432 -c listen_addresses= -c fsync=off -c full_page_writes=off \
	-c synchronous_commit=off -c max_connections=200 </dev/null &
while read -r line; do :; done
kill -INT $! && wait $!
`

func startServer(bin string) (*server, error) {
	dir, err := os.MkdirTemp("", "cairn-pg-")
	if err != nil {
		return nil, err
	}
	s := &server{ended: make(chan error, 1)}
	s.url = "postgres://cairn@/postgres?host=" + url.QueryEscape(dir) + "&port=5432"
	args := []string{"sh", "-c", script, "sh", dir, bin}
	if os.Geteuid() == 0 {
		// The server refuses to run as root.
		u, err := setShared(dir)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		args = slices.Concat([]string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups", "--"}, args)
	}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Dir = "/"
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if s.hold, err = s.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() { s.ended <- errors.Join(s.cmd.Wait(), os.RemoveAll(dir)) }()
	return s, s.waitReady()
}

// setShared gives dir to an unprivileged user and returns that user.
func setShared(dir string) (*user.User, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	return u, os.Chown(dir, id, -1)
}

// waitReady waits until the server answers.
func (s *server) waitReady() error {
	for range 600 {
		select {
		case err := <-s.ended:
			return fmt.Errorf("it ended: %w\n%s", err, s.log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if runTests(context.Background(), s.url, "SELECT 1") == nil {
			return nil
		}
	}
	s.stopServer()
	return fmt.Errorf("it does not answer\n%s", s.log.String())
}

func (s *server) stopServer() {
	s.hold.Close()
	if err := <-s.ended; err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stop PostgreSQL:", err)
	}
}
