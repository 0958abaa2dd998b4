package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/rules"
	pieces "github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

// A desk is one store, as a program, over HTTP, and on the command line.
type desk struct {
	*shell
	store *buckets.Store
	b     *buckets.Bucket
	c     *client.Client
	url   string
}

func newDesk(t *testing.T) *desk {
	store, err := local.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	d := &desk{shell: &shell{t, []string{"--server", srv.URL}}, store: store, url: srv.URL + "/api/files/demo"}
	if d.b, err = store.Bucket("demo"); err == nil {
		d.c, err = client.New(srv.URL, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// call answers with the body of a request that must succeed.
func (d *desk) call(method, path, body string) (string, error) {
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// exec runs a command on the server.
func (d *desk) exec(args ...string) (string, error) {
	var out, errOut strings.Builder
	if status := run(d.t.Context(), append(args, d.target...), strings.NewReader("content"), &out, &errOut); status != 0 {
		return "", fmt.Errorf("exit status %d: %s", status, errOut.String())
	}
	return out.String(), nil
}

// A spelling is the path of a file, in some normal form.
type spelling struct{ folder, name string }

func (s spelling) path() string { return s.folder + "/" + s.name }

func escapePath(s spelling) string { return url.PathEscape(s.folder) + "/" + url.PathEscape(s.name) }

// found is the error of an entry that answers with text, in which the file's ID
// must be.
func found(text string, err error, id string) error {
	if err == nil && !strings.Contains(text, id) {
		err = fmt.Errorf("%s is not in %.300q", id, text)
	}
	return err
}

// isFile is the error of an entry that answers with a file, which must be id.
func isFile(got string, err error, id string) error { return found(got, err, id) }

// lookUps are all ways to name a file by its path, or to name a part of it. Each
// returns nil if it has met the file id, whose content is "content".
var lookUps = map[string]func(ctx context.Context, d *desk, s spelling, id string) error{
	"Bucket.StatPath": func(ctx context.Context, d *desk, s spelling, id string) error {
		f, err := d.b.StatPath(ctx, s.path())
		return isFile(fmt.Sprint(f), err, id)
	},
	"Bucket.Open by path": func(ctx context.Context, d *desk, s spelling, id string) error {
		o, err := d.b.Open(ctx, s.path(), &buckets.GetOptions{ByPath: true})
		if err != nil {
			return err
		}
		return errors.Join(isFile(o.ID, nil, id), o.Close())
	},
	"Bucket.List by prefix": func(ctx context.Context, d *desk, s spelling, id string) error {
		return isListed(d.b.List(ctx, &buckets.ListOptions{Prefix: s.folder + "/"}), id)
	},
	"Bucket.List by whole path": func(ctx context.Context, d *desk, s spelling, id string) error {
		return isListed(d.b.List(ctx, &buckets.ListOptions{Prefix: s.path()}), id)
	},
	"Bucket.List by folder": func(ctx context.Context, d *desk, s spelling, id string) error {
		return isListed(d.b.List(ctx, &buckets.ListOptions{Folder: &s.folder}), id)
	},
	"Bucket.List by folder and prefix": func(ctx context.Context, d *desk, s spelling, id string) error {
		return isListed(d.b.List(ctx, &buckets.ListOptions{Folder: &s.folder, Prefix: s.path()}), id)
	},
	"fs.ReadFile": func(ctx context.Context, d *desk, s spelling, _ string) error {
		p, err := fs.ReadFile(d.b.FS(ctx), s.path())
		return found(string(p), err, "content")
	},
	"fs.Stat": func(ctx context.Context, d *desk, s spelling, id string) error {
		info, err := fs.Stat(d.b.FS(ctx), s.path())
		if err != nil {
			return err
		}
		return isFile(info.Sys().(*buckets.File).ID, nil, id)
	},
	"fs.ReadDir": func(ctx context.Context, d *desk, s spelling, _ string) error {
		entries, err := fs.ReadDir(d.b.FS(ctx), s.folder)
		return found(fmt.Sprint(entries), err, norm.NFC.String(s.name))
	},
	"fs.Sub": func(ctx context.Context, d *desk, s spelling, _ string) error {
		sub, err := fs.Sub(d.b.FS(ctx), s.folder)
		if err != nil {
			return err
		}
		p, err := fs.ReadFile(sub, s.name)
		return found(string(p), err, "content")
	},
	"fs.Glob": func(ctx context.Context, d *desk, s spelling, _ string) error {
		all, err := fs.Glob(d.b.FS(ctx), s.folder+"/"+s.name+"*")
		return found(fmt.Sprint(all), err, norm.NFC.String(s.path()))
	},
	"fs.WalkDir": func(ctx context.Context, d *desk, s spelling, _ string) error {
		var all []string
		err := fs.WalkDir(d.b.FS(ctx), s.folder, func(path string, _ fs.DirEntry, err error) error {
			all = append(all, path)
			return err
		})
		return found(fmt.Sprint(all), err, norm.NFC.String(s.name))
	},
	"Bucket.Put of a version": func(ctx context.Context, d *desk, s spelling, id string) error {
		f, err := d.b.Put(ctx, s.name, strings.NewReader("content"), &buckets.PutOptions{Folder: s.folder})
		return isFile(fmt.Sprint(f), err, id)
	},
	"Bucket.Put beside": func(ctx context.Context, d *desk, s spelling, _ string) error {
		_, err := d.b.Put(ctx, s.name, strings.NewReader("x"), &buckets.PutOptions{Folder: s.folder, OnConflict: buckets.ConflictFail})
		return wantConflict(err)
	},
	"Bucket.Copy onto": func(ctx context.Context, d *desk, s spelling, id string) error {
		_, err := d.b.Copy(ctx, id, d.b, &buckets.CopyOptions{Folder: &s.folder, Name: s.name, OnConflict: buckets.ConflictFail})
		return wantConflict(err)
	},
	"Bucket.Update, a move onto": func(ctx context.Context, d *desk, s spelling, _ string) error {
		other, err := d.b.Put(ctx, "other", strings.NewReader("x"), nil)
		if err == nil {
			_, err = d.b.Update(ctx, other.ID, &buckets.Patch{Folder: &s.folder, Name: &s.name})
		}
		return wantConflict(err)
	},
	"Bucket.Compose": func(ctx context.Context, d *desk, s spelling, id string) error {
		f, err := d.b.Compose(ctx, s.name, []buckets.Piece{{Data: []byte("content")}}, &buckets.PutOptions{Folder: s.folder})
		return isFile(fmt.Sprint(f), err, id)
	},
	"an upload in pieces": func(ctx context.Context, d *desk, s spelling, id string) error {
		u := pieces.New().In(d.b)
		up, err := u.Begin(ctx, s.name, &pieces.Options{PutOptions: buckets.PutOptions{Folder: s.folder, OnConflict: buckets.ConflictVersion}})
		if err == nil {
			_, err = u.Append(ctx, up.ID, 0, strings.NewReader("content"), nil)
		}
		if err != nil {
			return err
		}
		if up, err = u.Commit(ctx, up.ID); err != nil {
			return err
		}
		return isFile(fmt.Sprint(up.File), nil, id)
	},
	"a grant": func(ctx context.Context, d *desk, s spelling, id string) error {
		g, _, err := d.b.Grants().Sign(ctx, access.Grant{Op: access.GrantUpload, Folder: s.folder, Name: s.name}, time.Hour)
		if err != nil {
			return err
		}
		signed := d.b.As(&access.Principal{Grant: g})
		_, err = signed.Put(ctx, s.name, strings.NewReader("x"), &buckets.PutOptions{Folder: s.folder, OnConflict: buckets.ConflictFail})
		return wantConflict(err)
	},
	"a rule": func(ctx context.Context, d *desk, s spelling, id string) error {
		env, err := rules.NewEnv()
		if err != nil {
			return err
		}
		rule, err := env.Compile(fmt.Sprintf("file.path == %q && file.folder.startsWith(%q)", s.path(), s.folder))
		if err != nil {
			return err
		}
		f, err := d.b.Stat(ctx, id, nil)
		if err != nil {
			return err
		}
		return rule.Eval(ctx, &rules.Input{File: &rules.File{Path: f.Path(), Folder: f.Folder}})
	},

	"GET _at": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("GET", "/_at/"+escapePath(s)+"?as=json", "")
		return found(text, err, id)
	},
	"GET _at, the content": func(_ context.Context, d *desk, s spelling, _ string) error {
		text, err := d.call("GET", "/_at/"+escapePath(s), "")
		return found(text, err, "content")
	},
	"GET ?prefix": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("GET", "?prefix="+url.QueryEscape(s.path()), "")
		return found(text, err, id)
	},
	"GET ?folder": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("GET", "?folder="+url.QueryEscape(s.folder), "")
		return found(text, err, id)
	},
	"GET ?search": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("GET", "?search="+url.QueryEscape(strings.ToUpper(s.name)), "")
		return found(text, err, id)
	},
	"GET ?folder&delimiter": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("GET", "?delimiter=/&folder="+url.QueryEscape(s.folder), "")
		return found(text, err, id)
	},
	"GET ?prefix&delimiter, the folder": func(_ context.Context, d *desk, s spelling, _ string) error {
		text, err := d.call("GET", "?delimiter=/&prefix="+url.QueryEscape(s.folder), "")
		return found(text, err, norm.NFC.String(s.folder))
	},
	"GET ?cursor of the other form": func(_ context.Context, d *desk, s spelling, id string) error {
		twin := spelling{norm.NFC.String(s.folder), "!"} // comes first
		if _, err := d.b.Put(d.t.Context(), twin.name, strings.NewReader("x"), &buckets.PutOptions{Folder: twin.folder}); err != nil {
			return err
		}
		var page struct {
			Next string `json:"next_cursor"`
		}
		text, err := d.call("GET", "?limit=1&prefix="+url.QueryEscape(twin.folder+"/"), "")
		if err == nil {
			err = json.Unmarshal([]byte(text), &page)
		}
		if err != nil {
			return err
		}
		text, err = d.call("GET", "?prefix="+url.QueryEscape(s.folder+"/")+"&cursor="+page.Next, "")
		return found(text, err, id)
	},
	"POST ?name": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.call("POST", "?on_conflict=version&name="+url.QueryEscape(s.name)+"&folder="+url.QueryEscape(s.folder), "content")
		return found(text, err, id)
	},
	"Client.StatPath": func(ctx context.Context, d *desk, s spelling, id string) error {
		f, err := d.c.StatPath(ctx, "demo", s.path(), nil)
		return isFile(fmt.Sprint(f), err, id)
	},
	"Client.List": func(ctx context.Context, d *desk, s spelling, id string) error {
		for f, err := range d.c.List(ctx, "demo", &client.ListOptions{Prefix: s.folder}) {
			if err != nil || f.ID == id {
				return err
			}
		}
		return fs.ErrNotExist
	},

	"cairn stat": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.exec("stat", "demo/"+s.path())
		return found(text, err, id)
	},
	"cairn get": func(_ context.Context, d *desk, s spelling, _ string) error {
		text, err := d.exec("get", "demo/"+s.path())
		return found(text, err, "content")
	},
	"cairn get -r": func(_ context.Context, d *desk, s spelling, _ string) error {
		out := filepath.Join(d.t.TempDir(), "out")
		if _, err := d.exec("get", "-r", "demo/"+s.folder, "-o", out); err != nil {
			return err
		}
		p, err := os.ReadFile(filepath.Join(out, norm.NFC.String(s.name)))
		return found(string(p), err, "content")
	},
	"cairn ls": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.exec("ls", "demo/"+s.folder)
		return found(text, err, id)
	},
	"cairn versions": func(_ context.Context, d *desk, s spelling, _ string) error {
		text, err := d.exec("versions", "demo/"+s.path())
		return found(text, err, "m_")
	},
	"cairn put": func(_ context.Context, d *desk, s spelling, id string) error {
		text, err := d.exec("put", "--folder", s.folder, "--name", s.name, "-")
		return found(text, err, id)
	},
	"cairn cp": func(_ context.Context, d *desk, s spelling, _ string) error {
		text, err := d.exec("cp", "demo/"+s.path(), "demo/copies/")
		return found(text, err, "  copies/")
	},
	"cairn rm, and restore": func(_ context.Context, d *desk, s spelling, id string) error {
		if _, err := d.exec("rm", "demo/"+s.path()); err != nil {
			return err
		}
		text, err := d.exec("restore", "demo/"+id)
		return found(text, err, id)
	},
}

func isListed(seq func(yield func(*buckets.File, error) bool), id string) error {
	for f, err := range seq {
		if err != nil || f.ID == id {
			return err
		}
	}
	return fs.ErrNotExist
}

func wantConflict(err error) error {
	if errors.Is(err, buckets.ErrExist) {
		return nil
	}
	return fmt.Errorf("want a conflict: %w", errors.Join(err, buckets.ErrExist))
}

// Whatever names a file by its path finds it in every normal form, as every
// path is stored in one.
func TestEveryLookUpInEveryForm(t *testing.T) {
	race.LeaveOut(t)
	d := newDesk(t)
	for i, s := range []spelling{
		{"Übersicht", "café.txt"},
		{"한글", "각.md"},
		{"thư mục", "ệ ở.txt"},
		{"e\u0323\u0302", "o\u0302\u0323 marks in either order"},
		{"שָׁלוֹם", "לָֽמָּה.txt"},
		{"क़िला", "\u0958 composed never.txt"},
		{"\u212bngström", "\u2126hm"}, // signs that are letters
		{"がぎぐ", "ぱ.txt"},
		{"مُحَمَّد", "آ.txt"},
		{"👨\u200d👩\u200d👧", "❤\ufe0f.png"},
	} {
		f, err := d.b.Put(t.Context(), s.name, strings.NewReader("content"), &buckets.PutOptions{Folder: s.folder})
		if err != nil {
			t.Fatal(err)
		}
		forms := map[string]spelling{"as typed": s}
		for name, form := range map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD} {
			forms[name] = spelling{form.String(s.folder), form.String(s.name)}
		}
		for what, lookUp := range lookUps {
			if i > 2 && strings.HasPrefix(what, "cairn ") && what != "cairn stat" {
				continue // the others have shown how commands read a path
			}
			for form, s := range forms {
				if err := lookUp(t.Context(), d, s, f.ID); err != nil {
					t.Errorf("%s of %q in %s: %v", what, s.path(), form, err)
				}
			}
		}
	}
}

// A prefix is compared with paths in NFC, byte by byte: one that ends inside of a
// letter and its marks is the beginning of other paths, and one that ends inside
// of a character still finds what begins so.
func TestPrefixesCutAnywhere(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"cafe", "café", "cafés", "cafe\u0328\u0301"} { // the last becomes ę with an acute
		if _, err := d.b.Put(t.Context(), name, strings.NewReader(name), nil); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{
		"caf":               {"cafe", "café", "cafés", "caf\u0119\u0301"},
		"cafe":              {"cafe"},
		"café":              {"café", "cafés"},
		"cafe\u0301":        {"café", "cafés"},
		"cafe\u0301s":       {"cafés"},
		"cafe\u0328":        {"caf\u0119\u0301"},
		"cafe\u0301\u0328":  {"caf\u0119\u0301"},
		"caf\xc3":           {"café", "cafés"},
		"\u0301":            nil,
		"cafe\u0301\u0302s": nil,
	} {
		var got []string
		for f, err := range d.b.List(t.Context(), &buckets.ListOptions{Prefix: prefix}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Name)
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}

// A tree of names from anywhere comes back as it was, in NFC.
func TestTreeOfNames(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
		paths := []string{
			"שלום/דוח 2024\u200f.pdf", "שָׁלוֹם/לָמָּה.txt", "\u200fמסמך.txt",
			"تقارير/تقرير\u061c 12.pdf", "می\u200cخواهم.txt",
			"👨\u200d👩\u200d👧/❤\ufe0f.png", "🇩🇪.txt", "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
			"cafe\u0301/u\u0308ber.txt", "e\u0323\u0302/\u1112\u1161\u11ab.md", "क्\u200dष/\u0958.txt", "葛\U000e0100飾.txt", "\uf8ff.txt",
			"trailing dot.", "trailing space ", "CON", "nul.txt", "a:b*c?d", `a"b'c$d`, "...", "-rf", "%41",
		}
		for i, path := range paths {
			write(t, filepath.Join(dir, filepath.FromSlash(path)), fmt.Sprint(i))
		}
		s.run(0, "", "put", dir)
		s.run(0, "", "get", "-r", "demo", "-o", out)
		got := 0
		err := filepath.WalkDir(out, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				got++
			}
			return err
		})
		if err != nil || got != len(paths) {
			t.Errorf("%d files of %d, %v", got, len(paths), err)
		}
		for i, path := range paths {
			if p, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(norm.NFC.String(path)))); err != nil || string(p) != fmt.Sprint(i) {
				t.Errorf("%q: %q, %v", path, p, err)
			}
		}
		// What came back is the same again.
		text, _ := s.run(0, "", "put", out)
		if n := strings.Count(text, ", unchanged"); n != len(paths) {
			t.Errorf("%d of %d unchanged:\n%s", n, len(paths), text)
		}
	})
}

// Names of files on this machine that no file of a bucket can have are told
// without driving the terminal, and the others are stored.
func TestNamesOnTheTerminal(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		for _, name := range []string{"a\x1b[31mred", "b\nc", "photo\u202egpj.exe", "c\a", "d\u2028", "good"} {
			write(t, filepath.Join(dir, name), "x")
		}
		out, errOut := s.run(1, "", "put", dir)
		if i := strings.IndexFunc(errOut+out, func(r rune) bool { return r != '\n' && (r < ' ' || r == '\u202e' || r == '\u2028') }); i >= 0 {
			t.Errorf("raw at %d: %q", i, errOut+out)
		}
		for _, want := range []string{`a\x1b[31mred`, `b\nc`, `photo\u202egpj.exe`, `c\a`, `d\u2028`} {
			if !strings.Contains(errOut, want) {
				t.Errorf("%s is not in %q", want, errOut)
			}
		}
		if text, _ := s.run(0, "", "ls", "demo"); strings.Count(text, "\n") != 1 || !strings.Contains(text, "good") {
			t.Errorf("stored: %q", text)
		}
	})
}
