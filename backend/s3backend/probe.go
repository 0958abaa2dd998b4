package s3backend

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cairn-store/cairn/backend"
)

// A prober tests what Cairn relies on, under a prefix that it cleans up.
type prober struct {
	*Backend
	prefix string
	keys   []string // that cleanUp deletes
	out    []backend.Finding
}

// Probe implements backend.Remote. thorough adds about 10 MiB of uploads. The
// error is that of the cleaning up.
func (b *Backend) Probe(ctx context.Context, thorough bool) (out []backend.Finding, err error) {
	p := &prober{Backend: b, prefix: "probe/" + strings.ToLower(rand.Text()) + "/"}
	defer func() {
		out = p.out
		if err = p.cleanUp(context.WithoutCancel(ctx)); backend.Refuse(out) != nil {
			err = nil // what refuses to store may refuse to delete
		}
	}()
	if !p.runStep(ctx, "read after write", true, p.probeReadAfterWrite) {
		return // the other steps would fail as well
	}
	p.runStep(ctx, "ranges", true, p.probeRanges)
	p.runStep(ctx, "list", true, p.probeList)
	p.runStep(ctx, "delete", true, p.probeDelete)
	p.runStep(ctx, "clock", false, p.probeClock)
	p.runStep(ctx, "metadata", true, p.probeMetadata)
	p.runStep(ctx, backend.ConditionalPut, false, p.probeConditional)
	p.runStep(ctx, "checksums", false, p.probeChecksums)
	if thorough {
		p.runStep(ctx, "concurrent put", true, p.probeConcurrent)
		p.runStep(ctx, "multipart", false, p.probeMultipart)
		p.runStep(ctx, "part checksums", false, func(ctx context.Context) (string, error) { return p.describeProof(ctx, partPut) })
	}
	return
}

// runStep runs a step and records its Finding. The text that step returns is
// shown also when it succeeds. runStep reports whether it did.
func (p *prober) runStep(ctx context.Context, name string, needed bool, step func(context.Context) (string, error)) bool {
	detail, err := step(ctx)
	if err != nil {
		detail = err.Error()
	}
	p.out = append(p.out, backend.Finding{Name: name, OK: err == nil, Needed: needed, Detail: detail})
	return err == nil
}

func (p *prober) cleanUp(ctx context.Context) error {
	var errs []error
	for _, key := range p.keys {
		errs = append(errs, p.Delete(ctx, key))
	}
	return errors.Join(errs...)
}

func (p *prober) newKey(name string) string {
	p.keys = append(p.keys, p.prefix+name)
	return p.prefix + name
}

func (p *prober) storeObject(ctx context.Context, key string, content []byte) error {
	w, err := p.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

func randomBytes(n int) []byte {
	content := make([]byte, n)
	rand.Read(content)
	return content
}

func (p *prober) probeReadAfterWrite(ctx context.Context) (string, error) {
	for i := range 3 {
		key, content := p.newKey(fmt.Sprintf("whole%d", i)), randomBytes(64<<10)
		if _, err := p.Stat(ctx, key); !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("a key that was never written: %v, want %v", err, fs.ErrNotExist)
		}
		if err := p.storeObject(ctx, key, content); err != nil {
			return "", err
		}
		got := make([]byte, len(content))
		if err := p.ReadAt(ctx, key, got, 0); err != nil || !bytes.Equal(got, content) {
			return "", fmt.Errorf("an object that was just written does not read back: %v", err)
		}
	}
	return "", nil
}

func (p *prober) probeRanges(ctx context.Context) (string, error) {
	key, content := p.newKey("ranges"), randomBytes(10_000)
	if err := p.storeObject(ctx, key, content); err != nil {
		return "", err
	}
	for _, c := range []struct {
		off, n int64
		want   error
	}{{0, 1, nil}, {4000, 3000, nil}, {9_999, 1, nil}, {9_000, 2_000, io.ErrUnexpectedEOF}, {20_000, 1, io.ErrUnexpectedEOF}} {
		got := make([]byte, c.n)
		err := p.ReadAt(ctx, key, got, c.off)
		if !errors.Is(err, c.want) || err == nil && !bytes.Equal(got, content[c.off:c.off+c.n]) {
			return "", fmt.Errorf("%d bytes at %d of %d: other bytes, or %v", c.n, c.off, len(content), err)
		}
	}
	return "", nil
}

func (p *prober) probeList(ctx context.Context) (string, error) {
	var want []string
	for _, name := range []string{"a-b", "a.c", "a/b", "a0"} {
		key := p.newKey("list/" + name)
		want = append(want, key)
		if err := p.storeObject(ctx, key, []byte(name)); err != nil {
			return "", err
		}
	}
	got, err := p.listKeys(ctx, "list/")
	slices.Sort(got)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("listed %q, want %q", got, want)
	}
	return "", err
}

func (p *prober) listKeys(ctx context.Context, below string) (keys []string, err error) {
	for info, err := range p.List(ctx, p.prefix+below) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

func (p *prober) probeDelete(ctx context.Context) (string, error) {
	key := p.newKey("gone/x")
	if err := p.storeObject(ctx, key, []byte("x")); err != nil {
		return "", err
	}
	for range 2 { // again, since requests are repeated
		if err := p.Delete(ctx, key); err != nil {
			return "", err
		}
	}
	if _, err := p.Stat(ctx, key); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("an object that was deleted: %v, want %v", err, fs.ErrNotExist)
	}
	got, err := p.listKeys(ctx, "gone/")
	if err == nil && len(got) > 0 {
		err = errors.New("an object that was deleted is listed")
	}
	return "", err
}

// mostSkew is the difference between two clocks that services accept. Beyond it
// the SDK signs requests with the service's time, but expiries are wrong.
const mostSkew = 5 * time.Minute

func (p *prober) probeClock(ctx context.Context) (string, error) {
	var begun time.Time
	var out *s3.ListObjectsV2Output
	err := p.withRetries(ctx, func() (err error) {
		begun = time.Now()
		out, err = p.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &p.opts.Bucket, Prefix: p.Backend.fullKey(p.prefix), MaxKeys: aws.Int32(1)})
		return err
	})
	if err != nil {
		return "", err
	}
	at, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok {
		return "the service tells no time", nil
	}
	skew := at.Sub(begun.Add(time.Since(begun) / 2)).Round(time.Second)
	if skew.Abs() > mostSkew {
		return "", fmt.Errorf("clocks differ by %s: set this machine's", skew.Abs())
	}
	return fmt.Sprintf("clocks differ by %s", skew.Abs()), nil
}

// probeMetadata tests that an object's token comes back: acceptOwn relies on it
// after a lost answer.
func (p *prober) probeMetadata(ctx context.Context) (string, error) {
	key, token := p.newKey("metadata"), newToken()
	if err := p.putSmall(ctx, key, token, nil); err != nil {
		return "", err
	}
	return "", p.acceptOwn(ctx, key, token, errors.New("user metadata does not come back"))
}

// putSmall sends an object without a look at what is there.
func (p *prober) putSmall(ctx context.Context, key, token string, condition *string) error {
	content := &body{pool: &p.blocks}
	content.write([]byte("x"))
	defer content.free()
	return p.withRetries(ctx, func() error { return p.putWhole(ctx, key, token, content, untried, condition) })
}

// probeConditional tests whether the service has conditional PUT. If not, a HEAD
// comes before each PUT, and two writers can race between the two.
func (p *prober) probeConditional(ctx context.Context) (string, error) {
	key := p.newKey("conditional")
	if err := p.storeObject(ctx, key, []byte("first")); err != nil {
		return "", err
	}
	if p.unconditional.Load() {
		return "", errors.New("If-None-Match is refused; each PUT is preceded by a HEAD")
	}
	err := p.putSmall(ctx, key, newToken(), aws.String("*"))
	if err == nil {
		p.unconditional.Store(true)
		return "", errors.New("If-None-Match is passed over; each PUT is preceded by a HEAD")
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return "", nil
}

// describeProof tells what protects bytes on their way: an error if nothing does.
func (p *prober) describeProof(ctx context.Context, kind putKind) (string, error) {
	proof, err := p.findProof(ctx, kind)
	switch {
	case err != nil:
		return "", err
	case p.readsBack(proof):
		text := "each object is read back before it counts, as read_back says"
		if proof == byReading {
			text = "the service is not known to refuse wrong bytes, so each object is read back before it counts, which costs the bytes once more"
			if p.opts.Checksums != "when_supported" {
				text += "; checksums: when_supported may spare that"
			}
			return "", errors.New(text)
		}
		return text, nil
	case proof == byReading:
		return "", errors.New("the service is not known to refuse wrong bytes, and read_back: never keeps them from being noticed; set read_back: auto")
	case proof == byMD5:
		return "wrong bytes are refused for their Content-MD5, which is sent", nil
	}
	return "wrong bytes are refused for the sums that are signed", nil
}

// probeChecksums tests whether the service notices bytes that were damaged on
// their way, by the requests that objects are sent with.
func (p *prober) probeChecksums(ctx context.Context) (string, error) {
	return p.describeProof(ctx, wholePut)
}

// probeConcurrent has several writers write one key at the same time.
func (p *prober) probeConcurrent(ctx context.Context) (string, error) {
	key := p.newKey("concurrent")
	contents := make([][]byte, 4)
	errs := make([]error, len(contents))
	var wg sync.WaitGroup
	for i := range contents {
		contents[i] = bytes.Repeat([]byte{byte(i)}, 256<<10)
		wg.Go(func() { errs[i] = p.storeObject(ctx, key, contents[i]) })
	}
	wg.Wait()
	wins := 0
	for _, err := range errs {
		if err == nil {
			wins++
		} else if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	got := make([]byte, 256<<10)
	if err := p.ReadAt(ctx, key, got, 0); err != nil {
		return "", err
	}
	if i := int(got[0]); i >= len(contents) || !bytes.Equal(got, contents[i]) {
		return "", errors.New("writers of one key left a mixture of their bytes")
	} else if p.Conditional() && (wins != 1 || errs[i] != nil) {
		return "", fmt.Errorf("of %d writers of one key %d were told that they had won", len(contents), wins)
	}
	return "", nil
}

// probeMultipart sends one object in parts, and aborts another.
func (p *prober) probeMultipart(ctx context.Context) (string, error) {
	small := &Backend{opts: p.opts, client: p.client, creds: p.creds, blocks: sync.Pool{New: func() any { return new(block) }}}
	small.unconditional.Store(p.unconditional.Load())
	defer func() { p.proofs[partPut].Store(small.proofs[partPut].Load()) }()
	small.opts.PutSize, small.opts.PartSize = 5<<20, 5<<20
	q := &prober{Backend: small, prefix: p.prefix}
	key, content := p.newKey("parts"), randomBytes(5<<20+1000)
	if err := q.storeObject(ctx, key, content); err != nil {
		return "", err
	}
	got := make([]byte, len(content))
	if err := p.ReadAt(ctx, key, got, 0); err != nil || !bytes.Equal(got, content) {
		return "", fmt.Errorf("an object of two parts does not read back: %v", err)
	}
	w, err := small.Create(ctx, p.newKey("given-up"))
	if err != nil {
		return "", err
	}
	_, err = w.Write(content)
	if err = errors.Join(err, w.Abort()); err != nil {
		return "", err
	}
	if _, err := p.Stat(ctx, p.prefix+"given-up"); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("an upload that was given up: %v, want %v", err, fs.ErrNotExist)
	}
	return "", nil
}
