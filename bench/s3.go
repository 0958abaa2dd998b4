package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

const s3Bucket = "bench"

type s3Options struct {
	versitygw string
	size      int64
	small     int
	delay     time.Duration
	rounds    int
}

// An s3Bench stores and restores a file, and many small ones, in versitygw
// through a proxy that counts requests and holds each up for a while.
type s3Bench struct {
	*s3Options
	work, cairn string
	endpoint    string
	proxy       *slowProxy
	results     map[s3Step][]s3Result
	steps       []s3Step // in order
	begun       int      // rounds
}

type s3Step struct {
	delay time.Duration
	tool  string
	name  string
	bytes int64
}

type s3Result struct {
	result
	requests map[string]int // by method, LIST apart
}

// runS3 measures Cairn, and rclone if it is on PATH, without a delay and with it
// in turn.
func runS3(ctx context.Context, work, cairn string, opts *s3Options) error {
	b := &s3Bench{s3Options: opts, work: work, cairn: cairn, results: make(map[s3Step][]s3Result)}
	stop, err := b.startServers(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := b.makeFiles(); err != nil {
		return err
	}
	for range opts.rounds {
		for _, d := range []time.Duration{0, opts.delay} {
			b.proxy.setDelay(d)
			if err := b.runRound(ctx, d); err != nil {
				return err
			}
		}
	}
	return b.printMedians()
}

// startServers starts versitygw and the proxy in front of it.
func (b *s3Bench) startServers(ctx context.Context) (stop func(), err error) {
	for _, d := range []string{"s3/" + s3Bucket, "sidecar"} {
		if err := os.MkdirAll(filepath.Join(b.work, d), 0o700); err != nil {
			return nil, err
		}
	}
	addr := freeAddr()
	cmd := exec.CommandContext(ctx, b.versitygw, "--port", addr, "--access", "benchkey", "--secret", "benchsecret", "--quiet", "--keep-alive",
		"--health", "/health", "posix", "--sidecar", filepath.Join(b.work, "sidecar"), filepath.Join(b.work, "s3"))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	target, _ := url.Parse("http://" + addr)
	for i := 0; ; i++ {
		if r, err := http.Get(target.String() + "/health"); err == nil {
			r.Body.Close()
			break
		}
		if i == 100 {
			return nil, errors.New("versitygw does not start")
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.proxy = newSlowProxy(target)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: b.proxy}
	go srv.Serve(front)
	b.endpoint = "http://" + front.Addr().String()
	return func() {
		srv.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}

// makeFiles writes the large file and the small ones.
func (b *s3Bench) makeFiles() error {
	f, err := os.Create(filepath.Join(b.work, "big"))
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), b.size)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range b.small {
		name := filepath.Join(b.work, "small", fmt.Sprint(i/1000), fmt.Sprintf("f%05d", i))
		if i%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				return err
			}
		}
		p := make([]byte, 200+r.IntN(4000))
		for j := range p {
			p[j] = 'a' + byte(r.IntN(16))
		}
		if err := os.WriteFile(name, p, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// runRound measures every step with one delay. It removes its files, because on a
// virtual machine memory that is used for the first time is slow.
func (b *s3Bench) runRound(ctx context.Context, delay time.Duration) error {
	b.begun++
	prefix := fmt.Sprint("round", b.begun)
	dir := filepath.Join(b.work, prefix)
	defer os.RemoveAll(dir)
	defer os.RemoveAll(filepath.Join(b.work, "s3", s3Bucket, prefix))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config := filepath.Join(dir, "alyx.yml")
	text := fmt.Sprintf("storage:\n  backends:\n    far: {type: s3, s3: {bucket: %s, prefix: %q, endpoint: %q, access_key_id: benchkey, secret_access_key: benchsecret, force_path_style: true}}\n",
		s3Bucket, prefix+"/cairn", b.endpoint)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	cairn := tool{name: "cairn"}
	at := []string{"--data", filepath.Join(dir, "data"), "--config", config}
	line := func(args ...string) []string { return append(append([]string{b.cairn}, args...), at...) }
	big, out := filepath.Join(b.work, "big"), filepath.Join(dir, "out")
	steps := []struct {
		t     tool
		name  string
		bytes int64
		line  []string
	}{
		{cairn, "upload", b.size, line("put", "--digests", "none", big)},
		{cairn, "download", b.size, line("get", "demo/big", "-o", out)},
		{cairn, fmt.Sprintf("%d small files", b.small), 0, line("put", "--digests", "none", "--folder", "small", filepath.Join(b.work, "small"))},
	}
	if path, err := exec.LookPath("rclone"); err == nil {
		rclone := tool{name: "rclone", env: []string{"RCLONE_CONFIG=" + filepath.Join(dir, "rclone.conf"), "RCLONE_CONFIG_S_TYPE=s3", "RCLONE_CONFIG_S_PROVIDER=Other",
			"RCLONE_CONFIG_S_ENDPOINT=" + b.endpoint, "RCLONE_CONFIG_S_ACCESS_KEY_ID=benchkey", "RCLONE_CONFIG_S_SECRET_ACCESS_KEY=benchsecret", "AWS_CA_BUNDLE="}}
		plain := fmt.Sprintf("s:%s/%s/plain", s3Bucket, prefix)
		steps = append(steps, []struct {
			t     tool
			name  string
			bytes int64
			line  []string
		}{{rclone, "upload", b.size, []string{path, "copyto", "--s3-no-check-bucket", big, plain}},
			{rclone, "download", b.size, []string{path, "copyto", plain, out + "-rclone"}}}...)
	}
	for _, s := range steps {
		b.proxy.takeCounts()
		r, err := s.t.measure(ctx, strings.NewReplacer(), s.line)
		if err != nil {
			return err
		}
		step := s3Step{delay, s.t.name, s.name, s.bytes}
		if !slices.Contains(b.steps, step) {
			b.steps = append(b.steps, step)
		}
		b.results[step] = append(b.results[step], s3Result{r, b.proxy.takeCounts()})
	}
	return nil
}

// printMedians writes the table of medians.
func (b *s3Bench) printMedians() error {
	middle := func(s s3Step) s3Result {
		rs := slices.SortedFunc(slices.Values(b.results[s]), func(x, y s3Result) int { return cmp.Compare(x.wall, y.wall) })
		return rs[len(rs)/2]
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "tool\tdelay\tstep\twall s\tMB/s\tpeak MB\tPUT\tGET\tother\tspeed kept\t")
	for _, s := range b.steps {
		r, base := middle(s), s
		base.delay = 0
		n := r.requests
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.2f\t%.0f\t%.0f\t%d\t%d\t%d\t%.0f%%\t\n", s.tool, s.delay, s.name, r.wall.Seconds(), float64(s.bytes)/1e6/r.wall.Seconds(),
			float64(r.peak)/1e6, n["PUT"], n["GET"], n["HEAD"]+n["POST"]+n["DELETE"]+n["LIST"], 100*middle(base).wall.Seconds()/r.wall.Seconds())
	}
	return tw.Flush()
}

// A slowProxy counts requests and delays each.
type slowProxy struct {
	to *httputil.ReverseProxy

	mu    sync.Mutex
	delay time.Duration  // guarded by mu
	n     map[string]int // by method, LIST apart; guarded by mu
}

func newSlowProxy(target *url.URL) *slowProxy {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	return &slowProxy{n: make(map[string]int), to: &httputil.ReverseProxy{Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host // as it was signed
		}}}
}

func (p *slowProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := r.Method
	if r.URL.Query().Has("list-type") {
		kind = "LIST"
	}
	p.mu.Lock()
	p.n[kind]++
	delay := p.delay
	p.mu.Unlock()
	time.Sleep(delay)
	p.to.ServeHTTP(w, r)
}

func (p *slowProxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *slowProxy) takeCounts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.n
	p.n = make(map[string]int)
	return n
}
