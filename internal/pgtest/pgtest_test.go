package pgtest_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestDatabase: each database is another, and orders text in another way than
// by bytes unless it is asked to.
func TestDatabase(t *testing.T) {
	a, b := pgtest.Database(t), pgtest.Database(t)
	for _, u := range []string{a, b} {
		c, err := pgx.Connect(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exec(t.Context(), "CREATE TABLE x (a text)"); err != nil {
			t.Error(err)
		}
		var byRule, byBytes bool
		if err := c.QueryRow(t.Context(), `SELECT 'B' < 'a', 'B' < 'a' COLLATE "C"`).Scan(&byRule, &byBytes); err != nil || byRule || !byBytes {
			t.Errorf("B before a: %v, by bytes %v, %v", byRule, byBytes, err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
