package pgstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/manifesttest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func newLink(bucket string) *manifest.Link {
	return &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: bucket, File: manifest.NewFileID(), Version: manifest.NewVersionID(),
		Collection: "c", Record: "r", Who: "ann", At: day}
}

// An explainer notes the last query with its parameters.
type explainer struct{ last pgx.TraceQueryStartData }

func (e *explainer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, "SELECT") {
		e.last = data
	}
	return ctx
}

func (e *explainer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// planOf returns how the database executes the last query.
func (e *explainer) planOf(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	found, err := c.Query(t.Context(), "EXPLAIN ANALYZE "+e.last.SQL, e.last.Args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// TestLinkPlans: the database finds by an index what a query about links is about,
// and reads no rows that it is not about, whether it has counted the tables or not.
func TestLinkPlans(t *testing.T) {
	ctx, url, e := t.Context(), pgtest.Database(t), &explainer{}
	d, err := pgstore.OpenTraced(ctx, url, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.WithoutCancel(ctx)) })
	var version string
	if err := c.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil || !strings.HasPrefix(version, "PostgreSQL") {
		t.Skipf("the plans of %s have another form, %v", version, err)
	}
	var rs []manifest.Record
	for n := range 4000 {
		l := newLink(fmt.Sprint("b", n%40))
		l.Host, l.Record, l.Who = fmt.Sprint("h", n%40), fmt.Sprint("r", n), fmt.Sprint("who", n%40)
		l.State, l.Revision, l.At = manifest.LinkState(n/40%4), 1, day.Add(time.Duration(n)*time.Second)
		rs = append(rs, manifest.Record{Link: l}, manifest.Record{Manifest: &manifest.Manifest{ID: l.Version, File: l.File, Version: 1}},
			manifest.Record{File: &manifest.File{ID: l.File, Bucket: l.Bucket, Name: fmt.Sprint(n), Revision: 1, Current: l.Version}})
	}
	if err := d.Restore(ctx, 1, rs); err != nil {
		t.Fatal(err)
	}
	if err := d.Reindex(ctx); err != nil {
		t.Fatal(err)
	}
	a, b := rs[0].Link, rs[3*40].Link // pending, and confirmed
	files, versions := []manifest.FileID{a.File, b.File}, []manifest.VersionID{a.Version, b.Version}
	for _, counted := range []bool{false, true} {
		if counted {
			pgtest.Execute(t, url, "ANALYZE")
		}
		for _, c2 := range []call{
			{"rows", func() error { return without(d.Rows(ctx, files, versions)) }},
			{"link", func() error { return without(d.Link(ctx, a.ID)) }},
			{"sums of files", func() error { return without(d.FileLinkSums(ctx, files)) }},
			{"sums of versions", func() error { return without(d.VersionLinkSums(ctx, versions)) }},
			{"links of a file", func() error { return without(d.FileLinks(ctx, a.File, "", 100)) }},
			{"links of a record", func() error { return without(d.RecordLinks(ctx, b.Key())) }},
			{"links of a host", func() error { return without(d.HostLinks(ctx, a.Host, a.ID, 100)) }},
			{"ended links", func() error { return without(d.EndedLinks(ctx, a.Bucket, day.Add(time.Hour), 100)) }},
			{"pending links", func() error { return without(d.PendingLinks(ctx, a.Who)) }},
			{"all links", func() error { return drain(d.AllLinks(ctx, a.Bucket)) }},
		} {
			if err := c2.fn(); err != nil {
				t.Fatal(err)
			}
			plan := e.planOf(t, c)
			if !strings.Contains(plan, "Index") || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Rows Removed") {
				t.Errorf("%s, counted %v:\n%s", c2.name, counted, plan)
			}
		}
	}
}

func BenchmarkPage(b *testing.B) {
	d, err := pgstore.Open(b.Context(), pgtest.Database(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	manifesttest.BenchmarkPage(b, d)
}
