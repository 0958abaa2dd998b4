package records_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// blog is a host: a program whose records lie in SQLite and whose files lie in a store.
type blog struct {
	db    *sql.DB
	store *buckets.Store
	*links.Host
}

// tables are what the blog needs: its posts, and the row that joins its database to
// the store.
const tables = `
	CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY, title TEXT, cover TEXT);
	CREATE TABLE IF NOT EXISTS _cairn (one INTEGER PRIMARY KEY CHECK (one = 1), database TEXT, session INTEGER);`

// fieldsOfBlog are its file fields: a cover goes to the trash with its last post.
func fieldsOfBlog() []schema.Field {
	return []schema.Field{{Collection: "posts", Name: "cover", Bucket: "demo", Pin: schema.PinManifest, OnDelete: schema.OnDeleteCascade}}
}

// Load and Save keep the blog's state in its own database: they make it a links.Keeper.
func (b *blog) Load(ctx context.Context) (st links.State, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT database, session FROM _cairn`).Scan(&st.Database, &st.Session)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return st, err
}

func (b *blog) Save(ctx context.Context, st links.State) error {
	_, err := b.db.ExecContext(ctx, `INSERT OR REPLACE INTO _cairn VALUES (1, ?, ?)`, st.Database, st.Session)
	return err
}

// openBlog opens both, and makes them agree.
func openBlog(ctx context.Context, dir string) (b *blog, err error) {
	b = &blog{}
	if b.store, err = local.Open(ctx, filepath.Join(dir, "store"), nil); err != nil {
		return nil, err
	}
	// With synchronous NORMAL a power cut could undo what was confirmed.
	b.db, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "blog.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	if _, err := b.db.ExecContext(ctx, tables); err != nil {
		return nil, err
	}
	if b.Host, err = links.Open(ctx, b.store, b, &links.Options{Name: "blog", Fields: fieldsOfBlog()}); err != nil {
		return nil, err
	}
	done, err := b.Reconcile(ctx, b.exists, b.rows(ctx), nil)
	if err != nil {
		return nil, err
	}
	fmt.Printf("session %d: %d confirmed, %d let go\n", b.Session(), done.Confirmed, done.LetGo)
	return b, nil
}

func (b *blog) close() error { return errors.Join(b.store.Close(), b.db.Close()) }

// change changes a post together with its cover.
func (b *blog) change(ctx context.Context, c links.Change, statement string, args ...any) error {
	hold, err := b.Prepare(ctx, nil, c)
	if err != nil {
		return err
	}
	for _, v := range hold.Values[0]["cover"] {
		args = append(args, v) // the version that was prepared
	}
	if _, err := b.db.ExecContext(ctx, statement, args...); err != nil {
		return errors.Join(err, b.Cancel(ctx, hold.Token))
	}
	return b.Confirm(ctx, hold.Token)
}

// exists tells whether a post has a cover.
func (b *blog) exists(ctx context.Context, l links.Link) (has bool, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT count(*) FROM posts WHERE id = ? AND cover = ?`, l.Record, l.Value()).Scan(&has)
	return has, err
}

// rows yields the covers of all posts.
func (b *blog) rows(ctx context.Context) func(yield func(links.Row, error) bool) {
	return func(yield func(links.Row, error) bool) {
		found, err := b.db.QueryContext(ctx, `SELECT id, cover FROM posts WHERE cover IS NOT NULL`)
		if err != nil {
			yield(links.Row{}, err)
			return
		}
		defer found.Close()
		for found.Next() {
			row := links.Row{Collection: "posts", Field: "cover", Values: make([]string, 1)}
			if err := found.Scan(&row.Record, &row.Values[0]); !yield(row, err) || err != nil {
				return
			}
		}
		if err := found.Err(); err != nil {
			yield(links.Row{}, err)
		}
	}
}

// printPosts prints a page of posts, with their covers read at once.
func (b *blog) printPosts(ctx context.Context) error {
	found, err := b.db.QueryContext(ctx, `SELECT title, cover FROM posts ORDER BY id`)
	if err != nil {
		return err
	}
	defer found.Close()
	var titles []string
	var covers []links.Item
	for found.Next() {
		var title, cover string
		if err := found.Scan(&title, &cover); err != nil {
			return err
		}
		titles, covers = append(titles, title), append(covers, links.Item{ID: cover})
	}
	files, err := b.Resolve(ctx, nil, covers)
	if err != nil {
		return err
	}
	for i, f := range files {
		fmt.Printf("%s: %s", titles[i], f.Status)
		if f.File != nil {
			fmt.Printf(" %s, %d bytes", f.File.Name, f.File.Size)
		}
		fmt.Println()
	}
	return found.Err()
}

// A blog keeps its posts in SQLite and their covers in a store. It is stopped between
// its own commit and Confirm, and makes both agree when it starts again.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "blog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := runBlog(ctx, dir); err != nil {
		log.Fatal(err)
	}
	// Output:
	// session 1: 0 confirmed, 0 let go
	// Hello: found hello.txt, 5 bytes
	// session 2: 1 confirmed, 0 let go
	// Hello: found hello.txt, 5 bytes
	// World: found world.txt, 5 bytes
	// World: found world.txt, 5 bytes
	// hello.txt is trashed
}

func runBlog(ctx context.Context, dir string) error {
	b, err := openBlog(ctx, dir)
	if err != nil {
		return err
	}
	demo, err := b.store.Bucket("demo")
	if err != nil {
		return err
	}
	hello, err := demo.Put(ctx, "hello.txt", strings.NewReader("hello"), nil)
	if err != nil {
		return err
	}
	world, err := demo.Put(ctx, "world.txt", strings.NewReader("world"), nil)
	if err != nil {
		return err
	}
	post := func(id, cover string) links.Change {
		return links.Change{Collection: "posts", Record: id, Fields: map[string][]string{"cover": {cover}}}
	}
	const insert = `INSERT INTO posts (id, title, cover) VALUES (?, ?, ?)`
	if err := b.change(ctx, post("1", hello.ID), insert, "1", "Hello"); err != nil {
		return err
	}
	if err := b.printPosts(ctx); err != nil {
		return err
	}
	// The second post is written, and the blog is stopped before it can say so.
	hold, err := b.Prepare(ctx, nil, post("2", world.ID))
	if err != nil {
		return err
	}
	if _, err := b.db.ExecContext(ctx, insert, "2", "World", hold.Values[0]["cover"][0]); err != nil {
		return err
	}
	if err := b.close(); err != nil {
		return err
	}

	if b, err = openBlog(ctx, dir); err != nil {
		return err
	}
	if err := b.printPosts(ctx); err != nil {
		return err
	}
	if err := b.change(ctx, links.Change{Collection: "posts", Record: "1", Deleted: true}, `DELETE FROM posts WHERE id = ?`, "1"); err != nil {
		return err
	}
	if err := b.printPosts(ctx); err != nil {
		return err
	}
	if demo, err = b.store.Bucket("demo"); err != nil {
		return err
	}
	cover, err := demo.Stat(ctx, hello.ID, &buckets.GetOptions{Trashed: true})
	if err != nil {
		return err
	}
	fmt.Printf("%s is %s\n", cover.Name, cover.State)
	return b.close()
}
