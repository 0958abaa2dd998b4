package local_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/pgtest"
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
			u, err := url.Parse(database)
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
		return o
	}
}

// TestModelPostgres is TestModel with metadata in PostgreSQL.
func TestModelPostgres(t *testing.T) {
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
