package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-store/cairn/buckets/schema"
)

const (
	keySetAge    = 15 * time.Minute // after which the keys are read again
	keySetPause  = time.Minute      // between two readings for keys that are not there
	keySetLimit  = 1 << 20          // bytes
	keySetWait   = 10 * time.Second
	maxKeysTried = 16 // for a token that names no key
)

// A keySet is the JSON Web Key Set (RFC 7517) of a file or URL. It is read
// again when it is old, and when a token names a key that it lacks, so that
// keys can be rotated. While it cannot be read, the keys of the last reading
// stay valid.
type keySet struct {
	from string
	algs []jose.SignatureAlgorithm // of the configuration
	http *http.Client

	// reading is held while the set is read, so that one request reads it and
	// the others wait.
	reading sync.Mutex

	mu   sync.Mutex // guards keys, read and err
	keys []jose.JSONWebKey
	read time.Time // of the last reading, successful or not
	err  error     // of the last reading
}

func newKeySet(from string, algs []jose.SignatureAlgorithm) *keySet {
	return &keySet{from: from, algs: algs, http: &http.Client{Timeout: keySetWait, CheckRedirect: onlyHTTPS}}
}

// onlyHTTPS refuses redirects to places where others could answer in the
// issuer's name.
func onlyHTTPS(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme != "https" && via[0].URL.Scheme == "https" || !schema.SafeURL(r.URL) || len(via) >= 5 {
		return fmt.Errorf("redirected to %s", r.URL.Redacted())
	}
	return nil
}

func (s *keySet) isRemote() bool { return strings.Contains(s.from, "://") }

// findKeys returns the keys of an algorithm with an ID, or all of the
// algorithm if the ID is empty.
func (s *keySet) findKeys(ctx context.Context, id string, alg jose.SignatureAlgorithm) ([]any, error) {
	found, age := s.knownKeys(id, alg)
	if age > keySetAge || len(found) == 0 && age > keySetPause {
		s.reading.Lock()
		defer s.reading.Unlock()
		if found, age = s.knownKeys(id, alg); age > keySetAge || len(found) == 0 && age > keySetPause {
			s.loadKeys(ctx)
			found, _ = s.knownKeys(id, alg)
		}
	}
	if len(found) == 0 {
		return nil, s.loadError()
	}
	return found, nil
}

// loadError returns why the last reading failed, nil if it did not: a key that
// is missing may then be one that could not be read.
func (s *keySet) loadError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", ErrKeysUnavailable, s.err)
	}
	return nil
}

func (s *keySet) knownKeys(id string, alg jose.SignatureAlgorithm) (found []any, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if (id == "" || k.KeyID == id) && suitsAlgorithm(&k, alg) && len(found) < maxKeysTried {
			found = append(found, k.Key)
		}
	}
	return found, time.Since(s.read)
}

// loadKeys reads the keys. If it cannot, it keeps those of the last reading.
func (s *keySet) loadKeys(ctx context.Context) error {
	text, err := s.readText(context.WithoutCancel(ctx)) // others wait for it too
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err == nil {
		err = json.Unmarshal(text, &set)
	}
	var fit []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil {
			continue // of a kind that is not known here, as RFC 7517 5 has it
		}
		if slices.ContainsFunc(s.algs, func(alg jose.SignatureAlgorithm) bool { return suitsAlgorithm(&k, alg) }) {
			fit = append(fit, k)
		}
	}
	if err == nil && len(fit) == 0 {
		err = fmt.Errorf("there is no public key for %v in it", s.algs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read, s.err = time.Now(), nil
	if err != nil {
		s.err = fmt.Errorf("jwks %s: %w", s.from, err)
		return s.err
	}
	s.keys = fit
	return nil
}

// suitsAlgorithm reports whether a key of a set is for signatures by an
// algorithm.
func suitsAlgorithm(k *jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	return k.Use != "enc" && (k.Algorithm == "" || k.Algorithm == string(alg)) && fitsAlgorithm(k.Key, alg)
}

// fitsAlgorithm reports whether a key is public, of the kind of the algorithm,
// and strong enough.
func fitsAlgorithm(key any, alg jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256 && k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

func (s *keySet) readText(ctx context.Context) ([]byte, error) {
	if !s.isRemote() {
		return os.ReadFile(s.from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.from, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, keySetLimit+1))
	if err == nil && len(text) > keySetLimit {
		err = errors.New("larger than 1 MiB")
	}
	return text, err
}
