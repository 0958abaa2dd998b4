package local_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
)

// TestEveryMethodIsClosed knows every method that can fail of a store and of what comes from
// it.
func TestEveryMethodIsClosed(t *testing.T) {
	fails := reflect.TypeFor[error]()
	for of, typ := range map[string]reflect.Type{"Store.": reflect.TypeFor[*buckets.Store](), "Bucket.": reflect.TypeFor[*buckets.Bucket](),
		"Object.": reflect.TypeFor[*buckets.Object](), "Uploads.": reflect.TypeFor[*upload.Bucket](), "Lacking.": reflect.TypeFor[*upload.Lacking](),
		"Keys.": reflect.TypeFor[*access.Keys](), "Grants.": reflect.TypeFor[*access.Grants](),
		"Host.": reflect.TypeFor[*links.Host](), "Run.": reflect.TypeFor[*links.Run]()} {
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			isPure := slices.Contains(strings.Fields(pure[of]), m.Name)
			if (closingCalls[of+m.Name] == nil) != isPure {
				t.Errorf("%s%s is new: call it in closingCalls, or say that it is pure", of, m.Name)
			}
			if n := m.Type.NumOut(); isPure && n > 0 && m.Type.Out(n-1) == fails && !strings.Contains("Close ClockError ViaRecord ResumeRun", m.Name) {
				t.Errorf("%s%s can fail, and is called pure", of, m.Name)
			}
		}
	}
}

func onBothDatabases(t *testing.T, test func(t *testing.T, options func() *local.Options)) {
	t.Run("pebble", func(t *testing.T) { test(t, closingOptions) })
	t.Run("postgres", func(t *testing.T) {
		onPostgres := postgres(t)
		test(t, func() *local.Options {
			o := onPostgres()
			o.Buckets = closingOptions().Buckets
			return o
		})
	})
}

// After Close every call returns ErrClosed: nothing panics, in no goroutine.
func TestClosed(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, options func() *local.Options) {
		s, err := local.Open(t.Context(), t.TempDir(), options())
		must(t, err)
		c := newClosing(t, s)
		must(t, s.Close())
		for name, call := range closingCalls {
			t.Run(name, func(t *testing.T) {
				if err := call(t.Context(), c); !errors.Is(err, buckets.ErrClosed) {
					t.Errorf("error %v", err)
				}
			})
		}
		must(t, s.Close())
	})
}

// checkLeaks returns a function that fails if goroutines stay that were not there before.
func checkLeaks(t *testing.T) func() {
	t.Helper()
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i > 1000 {
				p := make([]byte, 1<<20)
				t.Fatalf("%d goroutines, there were %d\n%s", runtime.NumGoroutine(), before, p[:runtime.Stack(p, true)])
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Whoever reads or writes by foreign code, which may never return, is not waited for.
func TestCloseWaitsForNoForeignCode(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, options func() *local.Options) {
		left := checkLeaks(t)
		s, err := local.Open(t.Context(), t.TempDir(), options())
		must(t, err)
		c := newClosing(t, s)
		ctx := t.Context()
		var wg sync.WaitGroup
		ended := func(what string, call func() error) {
			wg.Go(func() {
				if err := call(); !errors.Is(err, buckets.ErrClosed) {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		goOn := make(chan struct{}) // closed when the store is closed
		var waiting sync.WaitGroup
		wait := func() {
			waiting.Done()
			<-goOn
		}
		body := func(n int) io.Reader { // gives n bytes, and then waits
			waiting.Add(1)
			return io.MultiReader(bytes.NewReader(closingNew[:n]), readerFunc(func(p []byte) (int, error) {
				wait()
				return 0, io.EOF
			}))
		}
		for _, n := range []int{0, 1000, len(closingNew)} {
			sent := body(n)
			ended("put", func() error { return errorOf(c.a.Put(ctx, "put", sent, nil)) })
		}
		extended, appended := body(5000), body(100_000)
		ended("extend", func() error { return errorOf(c.a.Extend(ctx, c.file.ID, extended, -1, nil)) })
		ended("append", func() error { return errorOf(c.up.Append(ctx, c.half, 1000, appended, nil)) })
		waiting.Add(3)
		var once sync.Once
		ended("write to", func() error {
			o, err := c.a.Open(ctx, c.file.ID, nil)
			must(t, err)
			defer o.Close()
			_, err = o.WriteTo(writerFunc(func(p []byte) (int, error) {
				once.Do(wait)
				return 1, nil // and the rest is written after Close
			}))
			if err == nil || errors.Is(err, io.ErrShortWrite) {
				_, err = o.Read(make([]byte, 1))
			}
			return err
		})
		for _, list := range []func() error{
			func() error {
				for _, err := range c.a.List(ctx, nil) {
					if err != nil {
						return err
					}
					wait()
				}
				return nil
			},
			func() error {
				for _, err := range c.a.Versions(ctx, c.file.ID) {
					if err != nil {
						return err
					}
					wait()
				}
				return nil
			},
		} {
			ended("list", list)
		}
		waiting.Wait()
		closed := make(chan error, 3)
		for range 3 {
			go func() { closed <- s.Close() }()
		}
		for range 3 {
			select {
			case err := <-closed:
				must(t, err)
			case <-time.After(20 * time.Second):
				p := make([]byte, 1<<20)
				t.Fatalf("not closed\n%s", p[:runtime.Stack(p, true)])
			}
		}
		close(goOn)
		wg.Wait()
		c.object.Close()
		left()
	})
}

// Close may be called by foreign code that a call has called.
func TestCloseFromCallbacks(t *testing.T) {
	for what, call := range map[string]func(ctx context.Context, c *closing) error{
		"list": func(ctx context.Context, c *closing) error {
			for _, err := range c.a.List(ctx, nil) {
				if err != nil {
					return err
				}
				c.s.Close()
			}
			return nil
		},
		"dump": func(ctx context.Context, c *closing) error {
			for _, err := range c.s.Dump(ctx) {
				if err != nil {
					return err
				}
				c.s.Close()
			}
			return nil
		},
		"put": func(ctx context.Context, c *closing) error {
			return errorOf(c.a.Put(ctx, "x", readerFunc(func([]byte) (int, error) {
				c.s.Close()
				return 0, io.EOF
			}), nil))
		},
		"collect": func(ctx context.Context, c *closing) error {
			return errorOf(c.s.Collect(ctx, &collect.Options{Progress: func(collect.Progress) { c.s.Close() }}))
		},
		"write to": func(ctx context.Context, c *closing) error {
			if _, err := c.object.WriteTo(writerFunc(func(p []byte) (int, error) { return len(p), c.s.Close() })); err != nil {
				return err // the rest was to be written
			}
			return errorOf(c.object.Read(make([]byte, 1)))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, err := local.Open(t.Context(), t.TempDir(), closingOptions())
			must(t, err)
			if err := call(t.Context(), newClosing(t, s)); !errors.Is(err, buckets.ErrClosed) {
				t.Errorf("error %v", err)
			}
			must(t, s.Close())
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
