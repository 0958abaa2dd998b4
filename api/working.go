package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

const workTell = time.Second // between two lines of progress

// A Pace is how far something is that takes long, and how long it will take. Its
// methods may be called concurrently.
type Pace struct {
	mu    sync.Mutex
	at    client.Working
	began time.Time // of the phase
	first int64     // done at its begin
}

// Note notes how far the work is. It may be called at any rate.
func (p *Pace) Note(at client.Working) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.Phase != p.at.Phase || at.Backend != p.at.Backend {
		p.began, p.first = time.Now(), at.Done
	}
	p.at = at
}

// Describe returns how far the work is, and how long its phase lasts at the same
// pace.
func (p *Pace) Describe() client.Working {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.at
	if done := at.Done - p.first; done > 0 && at.Total > at.Done {
		at.LeftSeconds = int64(time.Since(p.began).Seconds()*float64(at.Total-at.Done)/float64(done)) + 1
	}
	return at
}

// A worker tells the client of what takes long how far it is.
type worker struct {
	pace  Pace
	found chan any // what tell tells
}

func (k *worker) note(at client.Working) { k.pace.Note(at) }

// tell tells the client at once of something that was found. It waits until that is
// written.
func (k *worker) tell(ctx context.Context, found any) {
	select {
	case k.found <- found:
	case <-ctx.Done():
	}
}

// A workLine is a line of the answer to what takes long.
type workLine struct {
	client.Working
	Found  any           `json:"found,omitempty"`
	Report any           `json:"report,omitempty"`
	Error  *client.Error `json:"error,omitempty"`
}

// answerWorking does what takes long, and answers with a line of JSON each second,
// one for each thing that was found, and a last one with the report, or with an
// error.
// What fails before there was a line is answered as any error. The work is given up
// if the request ends before it.
func (s *Server) answerWorking(w http.ResponseWriter, r *http.Request, what string, do func(ctx context.Context, k *worker) (any, error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	k := &worker{found: make(chan any)}
	var report any
	ended := make(chan error, 1)
	go func() {
		var err error
		report, err = do(ctx, k)
		ended <- err
	}()
	tick := time.NewTicker(workTell)
	defer tick.Stop()
	told := false
	tell := func(l *workLine) error {
		if !told {
			w.Header().Set("Content-Type", "application/x-ndjson")
			told = true
		}
		if err := json.NewEncoder(w).Encode(l); err != nil {
			return err
		}
		return flushAnswer(w)
	}
	for {
		var err error
		select {
		case <-tick.C:
			err = tell(&workLine{Working: k.pace.Describe()})
		case found := <-k.found:
			err = tell(&workLine{Working: k.pace.Describe(), Found: found})
		case err := <-ended:
			last := &workLine{Working: client.Working{Phase: "done"}, Report: report}
			if err != nil {
				if !told {
					return err
				}
				s.log.Error(what+" given up", "request", requestIDOf(r), "error", err)
				p := problemOf(err)
				last.Report, last.Error = nil, &client.Error{Status: p.Status, Code: p.Code, Detail: p.Detail, RequestID: requestIDOf(r)}
			}
			return tell(last)
		}
		if err != nil { // the client is gone
			cancel()
			<-ended
			return err
		}
	}
}
