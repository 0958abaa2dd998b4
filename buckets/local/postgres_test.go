package local_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// postgres are options of a store whose metadata is in PostgreSQL: for each
// directory, which may be moved and removed as one with files, in a schema
// that a file in it names.
func postgres(t *testing.T) func() *local.Options {
	t.Helper()
	database := pgtest.Database(t)
	return func() *local.Options {
		o := options()
		postgresAt(t, o, database, database)
		return o
	}
}

// postgresAt makes a store of these options keep its metadata in schemas of
// database, and reach it by the URL through.
func postgresAt(t *testing.T, o *local.Options, database, through string) {
	t.Helper()
	o.SetMeta(func(ctx context.Context, dir string, mustExist bool) (local.Database, error) {
		name := filepath.Join(dir, "schema")
		schema, err := os.ReadFile(name)
		switch {
		case err == nil:
		case mustExist:
			return nil, fmt.Errorf("schema of %s: %w", dir, fs.ErrNotExist)
		default:
			schema = []byte("s" + strings.ToLower(rand.Text()))
			pgtest.Execute(t, database, "CREATE SCHEMA "+string(schema))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
			if err := os.WriteFile(name, schema, 0o600); err != nil {
				return nil, err
			}
		}
		u, err := url.Parse(through)
		if err != nil {
			return nil, err
		}
		q := u.Query()
		q.Set("search_path", string(schema))
		u.RawQuery = q.Encode()
		d, err := pgstore.Open(ctx, u.String(), nil)
		if err != nil {
			return nil, err
		}
		return d, nil
	})
}

// A cutter stands between a store and its database. It cuts all connections, and
// lets none through from then on, when the store has sent its k-th packet.
type cutter struct {
	net.Listener
	k    int64
	sent atomic.Int64

	mu    sync.Mutex // guards conns and cut
	conns []net.Conn
	cut   bool
}

// newCutter returns a cutter and the URL that leads through it. k of 0 cuts
// nothing.
func newCutter(t *testing.T, database string, k int64) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(database)
	must(t, err)
	q := u.Query()
	if u.Host != "" || q.Get("host") == "" {
		t.Skip("the database is not reached by a socket of this machine")
	}
	server := filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port"))
	dir, err := os.MkdirTemp("", "cut") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cutter{k: k}
	c.Listener, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL."+q.Get("port")))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for {
			near, err := c.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", server)
			if err != nil {
				near.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, near, far)
			c.mu.Unlock()
			if c.Cut() {
				c.cutAll()
			}
			go c.pass(far, near)
			go io.Copy(near, far)
		}
	}()
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return c, u.String()
}

// pass passes what the store sends on, until it is time to cut.
func (c *cutter) pass(far, near net.Conn) {
	p := make([]byte, 64<<10)
	for {
		n, err := near.Read(p)
		if c.sent.Add(1) == c.k {
			c.cutAll()
		}
		if err != nil || c.Cut() {
			c.shut(near, far)
			return
		}
		if _, err := far.Write(p[:n]); err != nil {
			c.shut(near, far)
			return
		}
	}
}

func (c *cutter) shut(conns ...net.Conn) {
	for _, conn := range conns {
		conn.Close()
	}
}

func (c *cutter) cutAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	c.shut(c.conns...)
}

// Cut reports whether the connections were cut.
func (c *cutter) Cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// TestCrashPostgres cuts a store from its database at many a packet. After a
// restart every promise holds, and it does after a rebuild from the packs alone.
func TestCrashPostgres(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	database := pgtest.Database(t)
	run := func(t *testing.T, k int64) (sent int64) {
		dir := filepath.Join(t.TempDir(), "store")
		c, through := newCutter(t, database, k)
		opts := &local.Options{PackSize: 256 << 10}
		postgresAt(t, opts, database, through)
		var mu sync.Mutex // guards acked
		var acked []promise
		crashWork(t, dir, c.Cut, opts, func(p promise) {
			mu.Lock()
			defer mu.Unlock()
			if !c.Cut() {
				acked = append(acked, p)
			}
		})
		c.cutAll()
		direct := &local.Options{PackSize: 256 << 10}
		postgresAt(t, direct, database, database)
		verifyCrash(t, dir, direct, acked)
		return c.sent.Load()
	}
	total := run(t, 0)
	points := int64(soak(4))
	for i := range points {
		k := 1 + i*total/points
		t.Run(fmt.Sprint("k=", k), func(t *testing.T) {
			t.Parallel()
			run(t, k)
		})
	}
}

// TestModelPostgres is TestModel with metadata in PostgreSQL.
func TestModelPostgres(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	opts := postgres(t)
	for i := range soak(1) {
		seed := uint64(i + 1)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := newModel(t, seed, opts)
			m.dir = t.TempDir()
			m.run(2, 120, 40)
		})
	}
}
