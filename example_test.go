package cairn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/cairn-store/cairn"
	"github.com/cairn-store/cairn/buckets"
)

// check ends an example that something has gone wrong in.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// openDemo opens a store in a new directory. Its bucket is "demo".
func openDemo() (bucket *cairn.Bucket, done func()) {
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	store, err := cairn.Open(context.Background(), dir, nil)
	check(err)
	bucket, err = store.Bucket("demo")
	check(err)
	return bucket, func() { check(errors.Join(store.Close(), os.RemoveAll(dir))) }
}

// A store with buckets of its own. The zero Policy has all defaults.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	defer os.RemoveAll(dir)

	store, err := cairn.Open(context.Background(), dir, &cairn.Options{Buckets: map[string]cairn.Policy{
		"documents": {},
		"drafts":    {Trash: buckets.Trash{Off: true}, Versions: buckets.Versions{Keep: 5}},
	}})
	check(err)
	fmt.Println(store.Buckets())
	check(store.Close())
	// Output: [documents drafts]
}

// The same by text, as the command line reads it.
func ExampleParse() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	defer os.RemoveAll(dir)

	opts, err := cairn.Parse(nil, []byte(`
buckets:
  documents: {max_file_size: 5GB}
  drafts:
    trash: off
    versioning: {keep: 5}
    rules: {read: auth.id == file.owner}
`))
	check(err)
	store, err := cairn.Open(context.Background(), dir, opts)
	check(err)
	fmt.Println(store.Buckets())
	check(store.Close())
	// Output: [documents drafts]
}

func ExampleBucket_Put() {
	ctx := context.Background()
	bucket, done := openDemo()
	defer done()

	file, err := bucket.Put(ctx, "report.txt", strings.NewReader("first draft"), &cairn.PutOptions{Folder: "2026", Tags: []string{"draft"}})
	check(err)
	fmt.Println(file.Path(), file.MIMEType, file.Size, file.Version)

	// The same name in the same folder is the next version of the same file.
	next, err := bucket.Put(ctx, "report.txt", strings.NewReader("second draft"), &cairn.PutOptions{Folder: "2026"})
	check(err)
	fmt.Println(next.ID == file.ID, next.Version)
	// Output:
	// 2026/report.txt text/plain 11 1
	// true 2
}

func ExampleBucket_Open() {
	ctx := context.Background()
	bucket, done := openDemo()
	defer done()
	file, err := bucket.Put(ctx, "report.txt", strings.NewReader("the quick brown fox"), nil)
	check(err)

	object, err := bucket.Open(ctx, file.ID, nil)
	check(err)
	defer object.Close()
	part := make([]byte, 5)
	_, err = object.ReadAt(part, 4)
	check(err)
	whole, err := io.ReadAll(object)
	check(err)
	fmt.Printf("%s, of %s\n", part, whole)

	_, err = bucket.Open(ctx, "nothing.txt", &cairn.GetOptions{ByPath: true})
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// quick, of the quick brown fox
	// true
}

func ExampleBucket_List() {
	ctx := context.Background()
	bucket, done := openDemo()
	defer done()
	for _, name := range []string{"b.txt", "a.txt", "c.bin"} {
		_, err := bucket.Put(ctx, name, strings.NewReader(name), nil)
		check(err)
	}

	for file, err := range bucket.List(ctx, &cairn.ListOptions{Search: "TXT"}) {
		check(err)
		fmt.Println(file.Name, file.Size)
	}
	// Output:
	// a.txt 5
	// b.txt 5
}

func ExampleBucket_Versions() {
	ctx := context.Background()
	bucket, done := openDemo()
	defer done()
	var id string
	for _, text := range []string{"one", "two", "three"} {
		file, err := bucket.Put(ctx, "a.txt", strings.NewReader(text), nil)
		check(err)
		id = file.ID
	}

	for version, err := range bucket.Versions(ctx, id) {
		check(err)
		object, err := bucket.Open(ctx, id, &cairn.GetOptions{Version: version.Version})
		check(err)
		text, err := io.ReadAll(object)
		check(errors.Join(err, object.Close()))
		fmt.Printf("%d %s\n", version.Version, text)
	}
	// Output:
	// 3 three
	// 2 two
	// 1 one
}

// What was deleted can be brought back for a while, 30 days by default.
func ExampleBucket_Delete() {
	ctx := context.Background()
	bucket, done := openDemo()
	defer done()
	file, err := bucket.Put(ctx, "a.txt", strings.NewReader("bytes"), nil)
	check(err)

	file, err = bucket.Delete(ctx, file.ID, nil)
	check(err)
	fmt.Println(file.State)
	file, err = bucket.Undelete(ctx, file.ID)
	check(err)
	fmt.Println(file.State)
	// Output:
	// trashed
	// active
}

// As narrows a bucket to whom its rules know.
func ExampleBucket_As() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	defer os.RemoveAll(dir)
	opts, err := cairn.Parse(nil, []byte(`buckets: {notes: {rules: {create: auth.id != null, read: auth.id == file.owner}}}`))
	check(err)
	store, err := cairn.Open(ctx, dir, opts)
	check(err)
	defer store.Close()
	notes, err := store.Bucket("notes")
	check(err)

	ann, bob := notes.As(&cairn.Principal{ID: "ann"}), notes.As(&cairn.Principal{ID: "bob"})
	file, err := ann.Put(ctx, "a.txt", strings.NewReader("mine"), nil)
	check(err)
	_, err = ann.Stat(ctx, file.ID, nil)
	fmt.Println("ann:", err)
	_, err = bob.Stat(ctx, file.ID, nil)
	fmt.Println("bob:", errors.Is(err, fs.ErrNotExist))
	// Output:
	// ann: <nil>
	// bob: true
}

// A server answers below /api/ of a program's own router. Here everybody may read, and
// nobody do anything else.
func ExampleNewServer() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	defer os.RemoveAll(dir)
	opts, err := cairn.Parse(nil, []byte(`buckets: {public: {rules: {read: "true"}}}`))
	check(err)
	store, err := cairn.Open(ctx, dir, opts)
	check(err)
	defer store.Close()
	public, err := store.Bucket("public")
	check(err)
	file, err := public.Put(ctx, "a.txt", strings.NewReader("hello"), nil)
	check(err)

	mux := http.NewServeMux()
	mux.Handle("/api/", cairn.NewServer(store, nil))
	site := httptest.NewServer(mux)
	defer site.Close()

	url := site.URL + "/api/files/public/" + file.ID
	answer, err := http.Get(url + "/download")
	check(err)
	text, err := io.ReadAll(answer.Body)
	check(errors.Join(err, answer.Body.Close()))
	fmt.Println(answer.StatusCode, string(text))
	answer, err = http.Post(url+"/copy", "application/json", nil)
	check(err)
	check(answer.Body.Close())
	fmt.Println(answer.StatusCode)
	// Output:
	// 200 hello
	// 401
}

// Close waits for what is being written, and may be called again.
func ExampleStore_close() {
	dir, err := os.MkdirTemp("", "cairn-example-")
	check(err)
	defer os.RemoveAll(dir)
	store, err := cairn.Open(context.Background(), dir, nil)
	check(err)

	_, err = cairn.Open(context.Background(), dir, nil)
	fmt.Println("opened twice:", err != nil)
	fmt.Println(store.Close(), store.Close())
	// Output:
	// opened twice: true
	// <nil> <nil>
}
