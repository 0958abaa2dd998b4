package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// openTerminal returns a terminal that nobody types at.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	t.Cleanup(func() { slave.Close() })
	return slave
}

// Signals end a put and a get that wait for what never comes, soon and with a
// failure, and leave the store to the next.
func TestSignals(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts processes")
	}
	bin, data, dir := buildCairn(t), newStore(t), t.TempDir()
	s := &shell{t, []string{"--data", data}}
	s.run(0, strings.Repeat("much more than a pipe holds", 20_000), "put", "--name", "f", "-")
	fifo, half, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "half"), filepath.Join(dir, "socket")
	for _, name := range []string{fifo, half} {
		if err := unix.Mkfifo(name, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// A FIFO that is open at its other end, from which nothing comes.
	other, err := os.OpenFile(half, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pipe, never, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer never.Close()
	for _, c := range []struct {
		name  string
		args  []string
		stdin *os.File
	}{
		{"put - at a terminal", []string{"put", "--name", "n", "-"}, openTerminal(t)},
		{"put - of a pipe", []string{"put", "--name", "n", "-"}, pipe},
		{"put of a FIFO that nobody writes", []string{"put", fifo}, nil},
		{"put of a FIFO that is open", []string{"put", half}, nil},
		{"put of a device that never ends", []string{"put", "/dev/zero"}, nil},
		{"get to a FIFO that nobody reads", []string{"get", "demo/f", "-o", fifo}, nil},
		{"get to a pipe that nobody reads", []string{"get", "demo/f"}, nil},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := exec.Command(bin, append(c.args, "--data", data)...)
			var errOut bytes.Buffer
			cmd.Stderr = &errOut
			if c.stdin != nil {
				cmd.Stdin = c.stdin
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			awaitLocked(t, data)
			time.Sleep(100 * time.Millisecond) // it opens its source right after the store
			begin := time.Now()
			cmd.Process.Signal(sig)
			select {
			case err = <-done:
			case <-time.After(10 * time.Second):
				cmd.Process.Kill()
				t.Fatalf("%s, %v: still there after 10 s", c.name, sig)
			}
			if err == nil || time.Since(begin) > 3*time.Second {
				t.Errorf("%s, %v: %v after %v", c.name, sig, err, time.Since(begin))
			}
			if !strings.Contains(errOut.String(), "cairn: interrupted") {
				t.Errorf("%s, %v: says %q", c.name, sig, &errOut)
			}
			r.Close()
			w.Close()
			s.run(0, "", "ls") // it is not locked
		}
	}
	if got := s.stored(); len(got) != 1 {
		t.Errorf("stored: %q", got)
	}
	if _, errOut := s.run(1, "", "put", socket); !strings.Contains(errOut, "socket") {
		t.Errorf("a socket: %s", errOut)
	}
}

// awaitLocked waits until a process has the store open.
func awaitLocked(t *testing.T, data string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if isLockedElsewhere(filepath.Join(data, ".lock")) {
			return
		}
	}
	t.Fatal("the store was not opened")
}

// What is neither file nor folder in a tree is left out, and the status says so.
func TestSpecialFiles(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "f"), "1")
		if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", filepath.Join(dir, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, errOut := s.run(1, "", "put", dir)
		for _, want := range []string{"fifo: a named pipe", "socket: a socket"} {
			if !strings.Contains(errOut, want) {
				t.Errorf("%q is not in %s", want, errOut)
			}
		}
		if got := s.stored(); len(got) != 1 || got[0] != "f" {
			t.Errorf("stored %q", got)
		}
	})
}

// A FIFO that ends is stored like any other content.
func TestPutFIFO(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := unix.Mkfifo(fifo, 0o666); err != nil {
			t.Fatal(err)
		}
		content := strings.Repeat("0123456789abcdef", 200_000)
		go os.WriteFile(fifo, []byte(content), 0)
		s.run(0, "", "put", fifo)
		if out, _ := s.run(0, "", "get", "demo/fifo"); out != content {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// A context that ends ends reads and writes that block.
func TestBlockedStream(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go w.Write([]byte("abc"))
	in, p := readUntil(ctx, r), make([]byte, 3)
	if _, err := io.ReadFull(in, p); string(p) != "abc" || err != nil {
		t.Errorf("read %q, %v", p, err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if n, err := in.Read(p); n != 0 || err != context.Canceled {
		t.Errorf("read %d, %v", n, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	r, w = io.Pipe()
	defer r.Close()
	content := strings.Repeat("x", untilBuffer+10)
	go func() {
		io.CopyN(io.Discard, r, untilBuffer)
		cancel()
	}()
	if n, err := io.WriteString(writeUntil(ctx, w), content); n > untilBuffer || err != context.Canceled {
		t.Errorf("wrote %d, %v", n, err)
	}
}

// A get removes what others have left of the same file, unless one is writing it.
func TestLeftParts(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		s.run(0, "content", "put", "--name", "f", "--folder", "d", "-")
		id := "m_" + strings.Repeat("0", 36)
		of := func(base, id string) string { return ".cairn-" + id + partSuffix(base) }
		dead, live, others := of("f", id), of("f", strings.Replace(id, "0", "1", 1)), of("g", id)
		for _, get := range [][]string{{"get", "demo/d/f", "-o", filepath.Join(dir, "f")}, {"get", "-r", "demo/d", "-o", dir}} {
			for _, name := range []string{dead, live, others} {
				write(t, filepath.Join(dir, name), "part")
			}
			held, err := os.OpenFile(filepath.Join(dir, live), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if free, err := lockFile(held); !free || err != nil {
				t.Fatal(free, err)
			}
			s.run(0, "", get...)
			held.Close()
			for name, want := range map[string]bool{dead: false, live: true, others: true, "f": true} {
				if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != want {
					t.Errorf("%q: %s is there: %v, want %v", get, name, err == nil, want)
				}
			}
		}
	})
}

// Of two gets of one version to one place, the second says that there is a first.
func TestTwoGets(t *testing.T) {
	s := &shell{t, []string{"--data", newStore(t)}}
	s.run(0, "content", "put", "--name", "f", "-")
	store, err := local.Open(t.Context(), s.target[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.StatPath(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	dir := t.TempDir()
	held, err := os.Create(filepath.Join(dir, ".cairn-"+f.ManifestID+partSuffix("f")))
	if err != nil {
		t.Fatal(err)
	}
	lockFile(held)
	if _, errOut := s.run(1, "", "get", "demo/f", "-o", filepath.Join(dir, "f")); !strings.Contains(errOut, "another get") {
		t.Errorf("says %q", errOut)
	}
	held.Close()
	s.run(0, "", "get", "demo/f", "-o", filepath.Join(dir, "f"))
}
