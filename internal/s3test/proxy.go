package s3test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A Fault is what a Proxy does to a request.
type Fault string

// The faults of a Proxy.
const (
	None          Fault = ""
	Status500     Fault = "500"
	SlowDown      Fault = "503 SlowDown"
	Expired       Fault = "expired credentials"
	ResetRequest  Fault = "reset while the request is sent" // it does not arrive
	ResetAnswer   Fault = "reset in the middle of the answer"
	LostAnswer    Fault = "answer lost" // the request was served
	FailedAnswer  Fault = "500 after the request was served"
	ShortAnswer   Fault = "answer of half the length, that says so"
	LongAnswer    Fault = "answer that promises more than it holds"
	WrongBytes    Fault = "wrong bytes in the answer"
	WrongRequest  Fault = "wrong bytes in the request"
	ShortRequest  Fault = "half of the bytes of the request"
	LongRequest   Fault = "more bytes than the request has"
	Stall         Fault = "stall"
	StalledAnswer Fault = "stall in the middle of the answer"
	Duplicate     Fault = "request served twice"
	Late          Fault = "request served after it has failed"
	OneByOne      Fault = "list in pages of one" // of services that check no signatures

	// Those of requests that answer nothing, as DELETE.
	Held    Fault = "answered as done, served by ServeHeld"
	Again   Fault = "served, and served again by ServeHeld"
	Skipped Fault = "answered as done, never served"
)

// A Proxy stands between a backend and its service and injects faults.
type Proxy struct {
	target *url.URL
	client *http.Transport
	late   sync.WaitGroup // requests of the fault Late
	closed chan struct{}  // at the end of the test

	// mu guards what follows.
	mu     sync.Mutex
	choose func(r *http.Request) Fault
	n      int           // faults injected
	delay  time.Duration // of every request
	held   []*exchange   // of the faults Held and Again
}

// Behind returns s as it is seen through a new proxy.
func (s *Server) Behind(t testing.TB) (*Server, *Proxy) {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32}, closed: make(chan struct{})}
	srv := httptest.NewServer(p)
	t.Cleanup(func() {
		p.late.Wait()
		close(p.closed)
		srv.CloseClientConnections()
		srv.Close()
		p.client.CloseIdleConnections()
	})
	through := *s
	through.Endpoint = srv.URL
	return &through, p
}

// Harm sets the function that chooses the fault of each request; nil chooses
// none.
func (p *Proxy) Harm(choose func(r *http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose = choose
}

// Delay makes every request wait for d before it is served.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Done returns how many faults were injected, after the last late request.
func (p *Proxy) Done() int {
	p.late.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Sometimes returns a function for Harm that chooses one of faults for a share of
// the requests.
func Sometimes(seed uint64, share float64, faults ...Fault) func(*http.Request) Fault {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0)) // guarded by mu
	return func(*http.Request) Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.Float64() >= share {
			return None
		}
		return faults[r.IntN(len(faults))]
	}
}

// ServeHeld serves at most n of the requests that are held, oldest first, and
// returns how many it has served.
func (p *Proxy) ServeHeld(n int) (served int, err error) {
	p.mu.Lock()
	n = min(n, len(p.held))
	held := p.held[:n:n]
	p.held = p.held[n:]
	p.mu.Unlock()
	for _, x := range held {
		if err := p.forwardRequest(x); err != nil {
			return served, err
		}
		if x.answer.StatusCode >= http.StatusMultipleChoices {
			return served, fmt.Errorf("%s %s, held: %s: %s", x.r.Method, x.r.URL.Path, x.answer.Status, x.out)
		}
		served++
	}
	return served, nil
}

func (p *Proxy) holdRequest(x exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, &x)
}

func (p *Proxy) chooseFault(r *http.Request) Fault {
	p.mu.Lock()
	choose, delay := p.choose, p.delay
	p.mu.Unlock()
	time.Sleep(delay)
	if choose == nil {
		return None
	}
	f := choose(r)
	if f != None {
		p.mu.Lock()
		p.n++
		p.mu.Unlock()
	}
	return f
}

// An exchange is a request whose body was read, and its answer.
type exchange struct {
	r      *http.Request
	body   []byte
	answer *http.Response
	out    []byte
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.chooseFault(r)
	switch fault {
	case Status500:
		refuseRequest(w, r, 500, "InternalError")
		return
	case SlowDown:
		refuseRequest(w, r, 503, "SlowDown")
		return
	case Expired:
		refuseRequest(w, r, 403, "ExpiredToken")
		return
	case ResetRequest:
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		cutConnection(w)
		return
	case OneByOne:
		if q := r.URL.Query(); q.Has("list-type") {
			q.Set("max-keys", "1")
			r.URL.RawQuery = q.Encode()
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		cutConnection(w)
		return
	}
	x := &exchange{r: r, body: body}
	switch fault {
	case Stall:
		p.stall(r)
		return
	case WrongRequest:
		spoilBytes(x.body)
	case ShortRequest:
		x.body = x.body[:len(x.body)/2]
	case LongRequest:
		x.body = append(x.body, x.body...)
	case Late:
		p.late.Go(func() {
			time.Sleep(50 * time.Millisecond)
			p.forwardRequest(x)
		})
		refuseRequest(w, r, 500, "InternalError")
		return
	case Duplicate:
		p.forwardRequest(x)
	case Again:
		p.holdRequest(*x)
	case Held:
		p.holdRequest(*x)
		w.WriteHeader(http.StatusNoContent)
		return
	case Skipped:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := p.forwardRequest(x); err != nil {
		cutConnection(w)
		return
	}
	p.sendReply(w, x, fault)
}

// forwardRequest sends the request to the service and reads its answer.
func (p *Proxy) forwardRequest(x *exchange) error {
	out, err := http.NewRequest(x.r.Method, p.target.String(), bytes.NewReader(x.body))
	if err != nil {
		return err
	}
	out.URL.Path, out.URL.RawPath, out.URL.RawQuery = x.r.URL.Path, x.r.URL.RawPath, x.r.URL.RawQuery
	out.Header, out.Host = x.r.Header.Clone(), x.r.Host // as they were signed
	out.ContentLength = int64(len(x.body))
	answer, err := p.client.RoundTrip(out)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if x.out, err = io.ReadAll(answer.Body); err != nil {
		return err
	}
	x.answer = answer
	return nil
}

func (p *Proxy) sendReply(w http.ResponseWriter, x *exchange, fault Fault) {
	n := len(x.out)
	switch fault {
	case LostAnswer:
		cutConnection(w)
		return
	case FailedAnswer:
		refuseRequest(w, x.r, 500, "InternalError")
		return
	case WrongBytes:
		spoilBytes(x.out)
	case ShortAnswer:
		n /= 2
	case LongAnswer:
		n += 10
	}
	for k, v := range x.answer.Header {
		w.Header()[k] = v
	}
	if x.r.Method != http.MethodHead && x.answer.StatusCode != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	w.WriteHeader(x.answer.StatusCode)
	half := x.out[:min(n, len(x.out))]
	if fault == ResetAnswer || fault == StalledAnswer {
		half = x.out[:len(x.out)/2]
	}
	w.Write(half)
	switch fault {
	case ResetAnswer, LongAnswer:
		http.NewResponseController(w).Flush()
		cutConnection(w)
	case StalledAnswer:
		http.NewResponseController(w).Flush()
		p.stall(x.r)
	}
}

// stall waits until the client gives up.
func (p *Proxy) stall(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.closed:
	}
}

func spoilBytes(p []byte) {
	for i := len(p) / 2; i < len(p); i += 100_000 {
		p[i] ^= 0x55
	}
}

// cutConnection closes the connection, also in the middle of an answer.
func cutConnection(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		c.Close()
		return
	}
	panic(http.ErrAbortHandler)
}

func refuseRequest(w http.ResponseWriter, r *http.Request, status int, code string) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants</Message></Error>", code)
}
