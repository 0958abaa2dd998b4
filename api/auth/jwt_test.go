package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-store/cairn/buckets/schema"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// sign makes a token.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	if kid != "" {
		opts = opts.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(claims)
	o, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := o.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func claims(change map[string]any) map[string]any {
	c := map[string]any{"sub": "ann", "iss": "alyx", "aud": []string{"web", "cairn"}, "exp": time.Now().Add(time.Minute).Unix(),
		"iat": time.Now().Unix(), "role": "editor", "verified": true}
	maps.Copy(c, change)
	for k, v := range c {
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

func newVerifier(t *testing.T, cfg schema.JWT) *Verifier {
	t.Helper()
	v, err := NewVerifier(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerify(t *testing.T) {
	v := newVerifier(t, schema.JWT{Secret: testSecret, Algorithm: "HS256", Issuer: "alyx", Audience: schema.Words{"cairn", "api"}, Leeway: schema.Duration(30 * time.Second)})
	hs := func(change map[string]any) string {
		return sign(t, jose.HS256, []byte(testSecret), "", claims(change))
	}
	now := time.Now()
	for what, token := range map[string]string{
		"plain":              hs(nil),
		"one audience":       hs(map[string]any{"aud": "cairn"}),
		"no expiry":          hs(map[string]any{"exp": nil}),
		"just expired":       hs(map[string]any{"exp": now.Add(-20 * time.Second).Unix()}),
		"from a clock ahead": hs(map[string]any{"iat": now.Add(20 * time.Second).Unix(), "nbf": now.Add(20 * time.Second).Unix()}),
	} {
		sub, c, err := v.Verify(t.Context(), token)
		if err != nil || sub != "ann" || c["role"] != "editor" || c["verified"] != true {
			t.Errorf("%s: %q %v %v", what, sub, c, err)
		}
	}
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	body, _ := json.Marshal(claims(nil))
	good := strings.Split(hs(nil), ".")
	for what, token := range map[string]string{
		"expired":            hs(map[string]any{"exp": now.Add(-time.Minute).Unix()}),
		"not yet":            hs(map[string]any{"nbf": now.Add(time.Minute).Unix()}),
		"issued in future":   hs(map[string]any{"iat": now.Add(time.Hour).Unix()}),
		"other issuer":       hs(map[string]any{"iss": "eve"}),
		"no issuer":          hs(map[string]any{"iss": nil}),
		"other audience":     hs(map[string]any{"aud": "web"}),
		"no audience":        hs(map[string]any{"aud": nil}),
		"no sub":             hs(map[string]any{"sub": nil}),
		"empty sub":          hs(map[string]any{"sub": ""}),
		"sub of a number":    hs(map[string]any{"sub": 7}),
		"sub of a key":       hs(map[string]any{"sub": "key:0123456789abcdef"}),
		"exp of text":        hs(map[string]any{"exp": "tomorrow"}),
		"other secret":       sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", claims(nil)),
		"other algorithm":    sign(t, jose.HS512, []byte(testSecret+testSecret), "", claims(nil)),
		"alg none":           b64(`{"alg":"none"}`) + "." + b64(string(body)) + ".",
		"alg None":           b64(`{"alg":"None"}`) + "." + b64(string(body)) + "." + good[2],
		"no alg":             b64(`{}`) + "." + b64(string(body)) + "." + good[2],
		"no signature":       good[0] + "." + good[1] + ".",
		"changed claims":     good[0] + "." + b64(strings.Replace(string(body), "ann", "bob", 1)) + "." + good[2],
		"critical header":    b64(`{"alg":"HS256","crit":["x"],"x":1}`) + "." + good[1] + "." + good[2],
		"two parts":          good[0] + "." + good[1],
		"empty":              "",
		"large":              strings.Repeat("a", maxToken+1),
		"not base64":         "a!.b!.c!",
		"claims of a list":   good[0] + "." + b64(`[]`) + "." + good[2],
		"embedded own key":   b64(`{"alg":"HS256","jwk":{"kty":"oct","k":"eHh4"}}`) + "." + good[1] + "." + good[2],
		"json serialisation": `{"payload":"` + good[1] + `","protected":"` + good[0] + `","signature":"` + good[2] + `"}`,
	} {
		if sub, _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: believed to be %q: %v", what, sub, err)
		}
	}
}

type keyPair struct {
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func pairs(t *testing.T) []keyPair {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []keyPair{{jose.RS256, r}, {jose.ES256, e}, {jose.EdDSA, d}}
}

func jwks(keys map[string]any) []byte {
	set := jose.JSONWebKeySet{}
	for id, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k, KeyID: id})
	}
	text, _ := json.Marshal(set)
	return text
}

// Every algorithm takes its own tokens and no other's, whatever they say.
func TestKeyFile(t *testing.T) {
	all := pairs(t)
	public := make(map[string]any)
	for _, p := range all {
		public[string(p.alg)] = p.private.Public()
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, jwks(public), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without an algorithm pinned, each key is for that of its kind, and the
	// secret for HS256 alone.
	both := newVerifier(t, schema.JWT{JWKS: file, Secret: testSecret})
	for _, p := range all {
		if _, _, err := both.Verify(t.Context(), sign(t, p.alg, p.private, string(p.alg), claims(nil))); err != nil {
			t.Errorf("%s with all keys: %v", p.alg, err)
		}
		for _, q := range all {
			if _, _, err := both.Verify(t.Context(), sign(t, p.alg, p.private, string(q.alg), claims(nil))); p.alg != q.alg && err == nil {
				t.Errorf("a token of %s that names the key of %s is believed", p.alg, q.alg)
			}
		}
	}
	if _, _, err := both.Verify(t.Context(), sign(t, jose.HS256, []byte(testSecret), "", claims(nil))); err != nil {
		t.Errorf("the secret beside keys: %v", err)
	}
	for _, mine := range all {
		v := newVerifier(t, schema.JWT{JWKS: file, Algorithm: string(mine.alg)})
		for _, p := range all {
			for _, kid := range []string{"", string(p.alg), "none such"} {
				_, _, err := v.Verify(t.Context(), sign(t, p.alg, p.private, kid, claims(nil)))
				if want := p.alg == mine.alg && kid != "none such"; (err == nil) != want {
					t.Errorf("%s takes a token of %s with kid %q: %v", mine.alg, p.alg, kid, err)
				}
			}
		}
		// The public key is no secret to sign with.
		der, err := x509.MarshalPKIXPublicKey(mine.private.Public())
		if err != nil {
			t.Fatal(err)
		}
		for _, guess := range [][]byte{der, []byte("RS256"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})} {
			for len(guess) < 32 {
				guess = append(guess, 0)
			}
			for _, v := range []*Verifier{v, both} {
				if _, _, err := v.Verify(t.Context(), sign(t, jose.HS256, guess, string(mine.alg), claims(nil))); err == nil {
					t.Errorf("%s: a token signed with the public key is believed", mine.alg)
				}
			}
		}
	}
}

// Keys that are of no use here, or of no known kind, don't harm those beside
// them.
func TestMixedKeys(t *testing.T) {
	key := pairs(t)[2]
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks(map[string]any{"good": key.private.Public()}), &set); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"kty": "new", "kid": "n"}`, `{"kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AA", "y": "AA"}`,
		`{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AA"}`, `{"kty": "RSA", "kid": "r", "n": "AQ", "e": "AQAB"}`,
		`{"kty": "oct", "kid": "o", "k": "` + strings.Repeat("eHh4", 11) + `"}`, `{}`, `7`, `null`} {
		set.Keys = append([]json.RawMessage{json.RawMessage(text)}, set.Keys...)
	}
	text, _ := json.Marshal(&set)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, schema.JWT{JWKS: file})
	if _, _, err := v.Verify(t.Context(), sign(t, key.alg, key.private, "good", claims(nil))); err != nil {
		t.Error(err)
	}
	// A shared secret in a public place is no key.
	if _, _, err := v.Verify(t.Context(), sign(t, jose.HS256, []byte(strings.Repeat("xxx", 11)), "o", claims(nil))); err == nil {
		t.Error("a token signed with a published secret is believed")
	}
}

func TestWeakOrMissingKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skipf("this Go makes no weak keys: %v", err)
	}
	for what, text := range map[string][]byte{"weak": jwks(map[string]any{"w": &weak.PublicKey}), "empty": []byte(`{"keys":[]}`), "not JSON": []byte("x")} {
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewVerifier(&schema.JWT{JWKS: file, Algorithm: "RS256"}); err == nil {
			t.Errorf("%s keys are taken", what)
		}
	}
	if _, err := NewVerifier(&schema.JWT{JWKS: "/nowhere/keys.json", Algorithm: "RS256"}); err == nil {
		t.Error("a missing file is taken")
	}
}

// A new key is found when a token names it; keys of before hold while the
// issuer does not answer; strangers cannot make us ask all the time.
func TestRotation(t *testing.T) {
	all := pairs(t)
	old, other := all[2], pairs(t)[2]
	var text atomic.Value
	var asked atomic.Int64
	text.Store(jwks(map[string]any{"old": old.private.Public()}))
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		p := text.Load().([]byte)
		if len(p) == 0 {
			w.WriteHeader(500)
		}
		w.Write(p)
	}))
	defer srv.Close()
	v := newVerifier(t, schema.JWT{JWKS: srv.URL, Algorithm: "EdDSA"})
	set := v.public
	set.http = srv.Client()
	verify := func(p keyPair, kid string) error {
		_, _, err := v.Verify(t.Context(), sign(t, p.alg, p.private, kid, claims(nil)))
		return err
	}
	later := func(d time.Duration) {
		set.mu.Lock()
		set.read = set.read.Add(-d)
		set.mu.Unlock()
	}
	if err := verify(old, "old"); err != nil {
		t.Fatal(err)
	}
	text.Store(jwks(map[string]any{"old": old.private.Public(), "new": other.private.Public()}))
	for range 10 {
		if verify(other, "new") == nil {
			t.Fatal("read again at once")
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for an unknown key", n)
	}
	later(2 * keySetPause)
	if err := verify(other, "new"); err != nil {
		t.Error(err)
	}
	text.Store([]byte(nil))
	later(2 * keySetAge)
	if err := verify(old, "old"); err != nil {
		t.Errorf("while the issuer is down: %v", err)
	}
	text.Store(jwks(map[string]any{"new": other.private.Public()}))
	later(2 * keySetAge)
	if verify(old, "old") == nil {
		t.Error("a key that was withdrawn is believed")
	}
}

// Where keys cannot be had, nobody is told that his token is wrong: neither when
// they are asked for, nor before they are asked for again.
func TestKeysUnavailable(t *testing.T) {
	key := pairs(t)[2]
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	v := newVerifier(t, schema.JWT{JWKS: srv.URL, Algorithm: "EdDSA"})
	v.public.http = srv.Client()
	for range 2 {
		_, _, err := v.Verify(t.Context(), sign(t, key.alg, key.private, "k", claims(nil)))
		if !errors.Is(err, ErrKeysUnavailable) || errors.Is(err, ErrToken) {
			t.Errorf("%v, want ErrKeysUnavailable", err)
		}
	}
}

// Keys do not come by way of a redirect that anybody could answer.
func TestKeysByRedirect(t *testing.T) {
	key := pairs(t)[2]
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(jwks(map[string]any{"k": key.private.Public()}))
	}))
	defer plain.Close()
	srv := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer srv.Close()
	v := newVerifier(t, schema.JWT{JWKS: srv.URL, Algorithm: "EdDSA"})
	set := v.public
	set.http.Transport = srv.Client().Transport
	if _, _, err := v.Verify(t.Context(), sign(t, key.alg, key.private, "k", claims(nil))); err == nil {
		t.Error("keys came by plain http")
	}
}
