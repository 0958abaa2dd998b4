package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	tusdModule = "github.com/tus/tusd/v2/cmd/tusd@v2.8.0"
	httpSize   = 1 << 30 // bytes of a step
	streams    = 8       // of the step side by side
)

// A server is a process that speaks tus.
type server struct {
	name, create string // URL that uploads are created at
	cmd          *exec.Cmd
	peak         int64 // bytes of memory
}

// runHTTP uploads by the tus protocol to Cairn and to tusd, which writes plain
// files, in turn: bytes that are new, the same bytes again, and eight streams
// side by side.
func runHTTP(ctx context.Context, work, cairn string, rounds int) error {
	tusd := exec.CommandContext(ctx, "go", "install", tusdModule)
	tusd.Env = append(os.Environ(), "GOBIN="+work)
	if out, err := tusd.CombinedOutput(); err != nil {
		return fmt.Errorf("install tusd: %w\n%s", err, out)
	}
	times := make(map[string][]time.Duration)
	var servers []*server
	for round := range rounds {
		dir := filepath.Join(work, strconv.Itoa(round))
		cairnAt, tusdAt := freeAddr(), freeAddr()
		servers = []*server{
			{name: "tusd", create: "http://" + tusdAt + "/files/", cmd: exec.CommandContext(ctx, filepath.Join(work, "tusd"), "-upload-dir", filepath.Join(dir, "tusd"), "-host", "127.0.0.1", "-port", tusdAt[strings.LastIndex(tusdAt, ":")+1:])},
			{name: "cairn", create: "http://" + cairnAt + "/api/tus/demo", cmd: exec.CommandContext(ctx, cairn, "serve", "--dev", "--addr", cairnAt, "--data", filepath.Join(dir, "cairn"))},
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := httpRound(ctx, dir, servers, uint64(round), times); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	printHTTP(servers, times)
	return nil
}

func httpRound(ctx context.Context, dir string, servers []*server, round uint64, times map[string][]time.Duration) error {
	for _, s := range servers {
		if err := s.cmd.Start(); err != nil {
			return err
		}
		defer s.cmd.Wait()
		defer s.cmd.Process.Kill()
	}
	for _, s := range servers {
		if err := s.waitReady(ctx); err != nil {
			return err
		}
	}
	for _, step := range []string{"new", "again", "parallel"} {
		for _, s := range servers {
			if err := touchMemory(dir); err != nil {
				return err
			}
			start := time.Now()
			if err := s.runStep(ctx, step, 100*round); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, step, err)
			}
			times[s.name+" "+step] = append(times[s.name+" "+step], time.Since(start))
			s.peak = max(s.peak, peakOf(s.cmd.Process.Pid))
		}
	}
	return nil
}

// touchMemory writes and removes twice what a step writes, so that all servers
// find memory that is in use: on a virtual machine, memory that was not written
// to lately is several times as slow.
func touchMemory(dir string) error {
	path := filepath.Join(dir, "touched")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, newStream(0), 2*httpSize)
	return errors.Join(err, f.Close(), os.Remove(path))
}

func (s *server) runStep(ctx context.Context, step string, seed uint64) error {
	if step != "parallel" {
		return s.upload(ctx, seed, httpSize)
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range uint64(streams) {
		g.Go(func() error { return s.upload(ctx, seed+1+i, httpSize/streams) })
	}
	return g.Wait()
}

func freeAddr() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // the server will say why not
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (s *server) waitReady(ctx context.Context) error {
	for ctx.Err() == nil {
		if resp, err := http.Get(s.create); err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ctx.Err()
}

// upload sends size bytes that no other seed has.
func (s *server) upload(ctx context.Context, seed uint64, size int64) error {
	loc, err := s.sendRequest(ctx, "POST", s.create, nil, "Upload-Length", strconv.FormatInt(size, 10), "Upload-Metadata", "filename Zg==")
	if err != nil {
		return err
	}
	_, err = s.sendRequest(ctx, "PATCH", loc, io.LimitReader(newStream(seed), size), "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	return err
}

func (s *server) sendRequest(ctx context.Context, method, url string, body io.Reader, header ...string) (location string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return "", err
	}
	if body != nil {
		r.ContentLength = body.(*io.LimitedReader).N
	}
	r.Header.Set("Tus-Resumable", "1.0.0")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		p, _ := io.ReadAll(resp.Body)
		return "", fmt.Errorf("%s: %s %s", method, resp.Status, p)
	}
	return resp.Header.Get("Location"), nil
}

// A stream yields bytes that do not compress and cost little to make: one block
// of noise again and again, with a new mark in every KiB.
type stream struct {
	block []byte
	at    int
	seed  uint64
	mark  uint64
}

func newStream(seed uint64) *stream {
	s := &stream{block: make([]byte, 8<<20), seed: seed}
	rand.NewChaCha8([32]byte{1}).Read(s.block)
	s.at = len(s.block)
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	if s.at == len(s.block) {
		s.at = 0
		s.mark++
		for i := 0; i < len(s.block); i += 1024 {
			binary.LittleEndian.PutUint64(s.block[i:], (s.seed<<44|s.mark<<24|uint64(i))*0x9e3779b97f4a7c15)
		}
	}
	n := copy(p, s.block[s.at:])
	s.at += n
	return n, nil
}

// peakOf returns the largest memory that a process has had so far, 0 where the
// system does not say.
func peakOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

func printHTTP(servers []*server, times map[string][]time.Duration) {
	median := func(name, step string) time.Duration {
		ts := slices.Sorted(slices.Values(times[name+" "+step]))
		return ts[len(ts)/2]
	}
	fmt.Printf("tus over loopback, %d MiB a step, medians of rounds\n%8s %10s %8s %8s %14s %9s\n", httpSize>>20, "server", "step", "wall s", "MB/s", "speed / tusd", "peak MB")
	for _, step := range []string{"new", "again", "parallel"} {
		for _, s := range servers {
			t := median(s.name, step)
			fmt.Printf("%8s %10s %8.2f %8.0f %14.2f %9d\n", s.name, step, t.Seconds(), httpSize/1e6/t.Seconds(),
				median("tusd", step).Seconds()/t.Seconds(), s.peak/1e6)
		}
	}
}
