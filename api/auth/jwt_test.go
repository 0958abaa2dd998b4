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
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var header map[jose.HeaderKey]any
	if kid != "" {
		header = map[jose.HeaderKey]any{"kid": kid}
	}
	return signText(t, alg, key, header, string(text))
}

// signText makes a token of any payload.
func signText(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, text string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Sign([]byte(text))
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

// Claims of a well-signed token: those that are taken, and what is said of the
// others, so that an issuer finds the claim that is wrong.
func TestClaims(t *testing.T) {
	cfg := schema.JWT{Secret: testSecret, Algorithm: "HS256", Issuer: "alyx", Audience: schema.Words{"cairn", "api"}, Leeway: schema.Duration(30 * time.Second)}
	strict := newVerifier(t, cfg)
	cfg.ExpOptional = true
	lax := newVerifier(t, cfg)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	type m = map[string]any
	for _, c := range []struct {
		what   string
		change m      // nil values remove a claim
		raw    string // the payload, in place of the claims
		want   string // that the error holds, "" for a token that is believed
	}{
		{"plain", nil, "", ""},
		{"one audience", m{"aud": "cairn"}, "", ""},
		{"one of the audiences, last", m{"aud": []string{"a", "b", "api"}}, "", ""},
		{"another audience", m{"aud": "web"}, "", "(aud)"},
		{"other audiences", m{"aud": []string{"web", "Cairn"}}, "", "(aud)"},
		{"no audience", m{"aud": nil}, "", "(aud)"},
		{"audience of a list of none", m{"aud": []string{}}, "", "(aud)"},
		{"audience of a number", m{"aud": 5}, "", "its aud is not"},
		{"audience of texts and a number", m{"aud": []any{"cairn", 5}}, "", "its aud is not"},
		{"audience of an object", m{"aud": m{"cairn": true}}, "", "its aud is not"},
		{"audience of lists", m{"aud": []any{[]string{"cairn"}}}, "", "its aud is not"},
		{"audience null", nil, `{"sub": "ann", "iss": "alyx", "exp": 9999999999, "aud": null}`, "its aud is not"},
		{"another issuer", m{"iss": "eve"}, "", "(iss)"},
		{"issuer in other letters", m{"iss": "Alyx"}, "", "(iss)"},
		{"no issuer", m{"iss": nil}, "", "(iss)"},
		{"issuer of a number", m{"iss": 1}, "", "its iss is not"},
		{"issuers", m{"iss": []string{"alyx"}}, "", "its iss is not"},
		{"expired", m{"exp": at(-time.Minute)}, "", "(exp)"},
		{"just expired", m{"exp": at(-20 * time.Second)}, "", ""},
		{"no exp", m{"exp": nil}, "", "no exp"},
		{"exp of text", m{"exp": "1700000000"}, "", "its exp is not"},
		{"exp of a word", m{"exp": "tomorrow"}, "", "its exp is not"},
		{"exp of a list", m{"exp": []int64{at(time.Minute)}}, "", "its exp is not"},
		{"exp true", m{"exp": true}, "", "its exp is not"},
		{"exp with a fraction", m{"exp": float64(at(time.Minute)) + 0.5}, "", ""},
		{"exp with an exponent", m{"exp": json.RawMessage("2.5e10")}, "", ""},
		{"exp 0", m{"exp": 0}, "", "(exp)"},
		{"exp negative", m{"exp": -1}, "", "its exp is not"},
		{"exp in milliseconds", m{"exp": at(time.Minute) * 1000}, "", "its exp is not"},
		{"exp huge", m{"exp": 1e300}, "", "its exp is not"},
		{"exp beyond all numbers", m{"exp": json.RawMessage("1e400")}, "", "its exp is not"},
		{"exp of 2^63", m{"exp": json.RawMessage("9223372036854775808")}, "", "its exp is not"},
		{"exp of the year 1", m{"exp": -62135596800}, "", "its exp is not"},
		{"exp null", nil, `{"sub": "ann", "iss": "alyx", "aud": "cairn", "exp": null}`, "its exp is not"},
		{"exp in other letters", nil, `{"sub": "ann", "iss": "alyx", "aud": "cairn", "EXP": 9999999999}`, "no exp"},
		{"not yet", m{"nbf": at(time.Minute)}, "", "(nbf)"},
		{"nearly", m{"nbf": at(20 * time.Second)}, "", ""},
		{"nbf of text", m{"nbf": "0"}, "", "its nbf is not"},
		{"nbf huge", m{"nbf": 1e19}, "", "its nbf is not"},
		{"nbf negative", m{"nbf": -1e300}, "", "its nbf is not"},
		{"issued in the future", m{"iat": at(time.Hour)}, "", "(iat)"},
		{"issued by a clock ahead", m{"iat": at(20 * time.Second)}, "", ""},
		{"iat of text", m{"iat": now.Format(time.RFC3339)}, "", "its iat is not"},
		{"no iat", m{"iat": nil}, "", ""},
		{"no sub", m{"sub": nil}, "", "no sub"},
		{"empty sub", m{"sub": ""}, "", "no sub"},
		{"sub of spaces", m{"sub": "  "}, "", "no sub"},
		{"sub of a number", m{"sub": 7}, "", "its sub is not"},
		{"sub of a list", m{"sub": []string{"ann"}}, "", "its sub is not"},
		{"sub null", nil, `{"sub": null, "iss": "alyx", "aud": "cairn", "exp": 9999999999}`, "its sub is not"},
		{"sub in other letters", m{"sub": nil, "Sub": "ann"}, "", "no sub"},
		{"sub of a key", m{"sub": "key:0123456789abcdef"}, "", "its sub begins"},
		{"sub of 255 bytes", m{"sub": strings.Repeat("s", 255)}, "", ""},
		{"sub of 256 bytes", m{"sub": strings.Repeat("s", 256)}, "", "its sub has 256 bytes"},
		{"sub of 11 KB", m{"sub": strings.Repeat("s", 11<<10)}, "", "its sub has 11264 bytes"},
		{"sub with NUL", m{"sub": "ann\x00"}, "", "its sub has characters"},
		{"sub with a newline", m{"sub": "ann\nbob"}, "", "its sub has characters"},
		{"sub with ESC", m{"sub": "\x1b[2Jann"}, "", "its sub has characters"},
		{"sub with DEL", m{"sub": "ann\x7f"}, "", "its sub has characters"},
		{"sub that turns direction", m{"sub": "a\u202enn"}, "", "its sub has characters"},
		{"sub with a space of no width", m{"sub": "ann\u200b"}, "", "its sub has characters"},
		{"sub of half a character", nil, `{"sub": "\ud800", "iss": "alyx", "aud": "cairn", "exp": 9999999999}`, "its sub has characters"},
		{"sub that is no UTF-8", nil, "{\"sub\": \"a\xff\", \"iss\": \"alyx\", \"aud\": \"cairn\", \"exp\": 9999999999}", "no JSON object"},
		{"sub of many scripts", m{"sub": "Ånn Müller 安 علي|google-oauth2|1234@example.com"}, "", ""},
		{"jti of a number", m{"jti": 5}, "", "its jti is not"},
		{"sub twice", nil, `{"sub": "ann", "iss": "alyx", "aud": "cairn", "exp": 9999999999, "sub": "bob"}`, "each name once"},
		{"exp twice", nil, `{"exp": 1, "sub": "ann", "iss": "alyx", "aud": "cairn", "exp": 9999999999}`, "each name once"},
		{"a claim twice, deep", nil, `{"sub": "ann", "iss": "alyx", "aud": "cairn", "exp": 9999999999, "o": {"role": "a", "role": "b"}}`, "cannot be read"},
		{"a claim beyond all numbers", m{"n": json.RawMessage("1e400")}, "", "cannot be read"},
		{"claims nested 101 deep", m{"d": json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100))}, "", "at most 100"},
		{"claims nested 100 deep", m{"d": json.RawMessage(strings.Repeat("[", 99) + strings.Repeat("]", 99))}, "", ""},
		{"a list", nil, `[]`, "no JSON object"},
		{"a text", nil, `"ann"`, "no JSON object"},
		{"null", nil, `null`, "no JSON object"},
		{"bytes that are no text", nil, "{\"sub\": \"\xef\", \"iss\": \"alyx\", \"aud\": \"cairn\", \"exp\": 9999999999}", "in UTF-8"},
		{"nothing", nil, ``, "no JSON object"},
		{"more than an object", nil, `{"sub": "ann", "iss": "alyx", "aud": "cairn", "exp": 9999999999} {}`, "no JSON object"},
	} {
		token := sign(t, jose.HS256, []byte(testSecret), "", claims(c.change))
		if c.change == nil && (c.raw != "" || c.what == "nothing") {
			token = signText(t, jose.HS256, []byte(testSecret), nil, c.raw)
		}
		sub, got, err := strict.Verify(t.Context(), token)
		switch {
		case c.want == "" && (err != nil || sub != got["sub"] || sub == "" || got["role"] != "editor" || got["verified"] != true):
			t.Errorf("%s: %q %v %v", c.what, sub, got, err)
		case c.want != "" && (!errors.Is(err, ErrToken) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %q, error %v, want one that says %q", c.what, sub, err, c.want)
		}
		// exp_optional is about that one claim.
		if _, _, err := lax.Verify(t.Context(), token); (err == nil) != (c.want == "" || c.want == "no exp" && c.change != nil || c.what == "exp in other letters") {
			t.Errorf("%s, with exp_optional: %v", c.what, err)
		}
	}
}

// What makes a text no token at all, or one of nobody that is known.
func TestVerify(t *testing.T) {
	v := newVerifier(t, schema.JWT{Secret: testSecret, Algorithm: "HS256"})
	hs := func(header map[jose.HeaderKey]any) string {
		text, _ := json.Marshal(claims(nil))
		return signText(t, jose.HS256, []byte(testSecret), header, string(text))
	}
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	body, _ := json.Marshal(claims(nil))
	good := strings.Split(hs(nil), ".")
	for what, token := range map[string]string{
		"plain": hs(nil), "a key ID that HS256 does not need": hs(map[jose.HeaderKey]any{"kid": "k"}),
		"a type": hs(map[jose.HeaderKey]any{"typ": "at+jwt"}), "a place of keys": hs(map[jose.HeaderKey]any{"jku": "https://eve.example"}),
	} {
		if sub, _, err := v.Verify(t.Context(), token); err != nil || sub != "ann" {
			t.Errorf("%s: %q, %v", what, sub, err)
		}
	}
	for what, token := range map[string]string{
		"other secret":           sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", claims(nil)),
		"other algorithm":        sign(t, jose.HS512, []byte(testSecret+testSecret), "", claims(nil)),
		"alg none":               b64(`{"alg":"none"}`) + "." + b64(string(body)) + ".",
		"alg None":               b64(`{"alg":"None"}`) + "." + b64(string(body)) + "." + good[2],
		"alg in small letters":   b64(`{"alg":"hs256"}`) + "." + b64(string(body)) + "." + good[2],
		"alg of a list":          b64(`{"alg":["HS256"]}`) + "." + b64(string(body)) + "." + good[2],
		"alg twice":              b64(`{"alg":"none","alg":"HS256"}`) + "." + b64(string(body)) + "." + good[2],
		"no alg":                 b64(`{}`) + "." + b64(string(body)) + "." + good[2],
		"no signature":           good[0] + "." + good[1] + ".",
		"changed claims":         good[0] + "." + b64(strings.Replace(string(body), "ann", "bob", 1)) + "." + good[2],
		"a critical header":      b64(`{"alg":"HS256","crit":["x"],"x":1}`) + "." + good[1] + "." + good[2],
		"a critical one, signed": hs(map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}),
		"critical, none named":   hs(map[jose.HeaderKey]any{"crit": []string{}}),
		"critical, no list":      hs(map[jose.HeaderKey]any{"crit": "b64"}),
		"b64 as critical":        hs(map[jose.HeaderKey]any{"crit": []string{"b64"}, "b64": true}),
		"kid of a number":        hs(map[jose.HeaderKey]any{"kid": 7}),
		"two parts":              good[0] + "." + good[1],
		"four parts":             strings.Join(good, ".") + ".",
		"five parts":             strings.Join(good, ".") + ".x.y",
		"a space within":         good[0] + " ." + good[1] + "." + good[2],
		"empty":                  "",
		"dots":                   "..",
		"large":                  strings.Repeat("a", maxToken+1),
		"not base64":             "a!.b!.c!",
		"padded base64":          good[0] + "=." + good[1] + "." + good[2],
		"claims of a list":       good[0] + "." + b64(`[]`) + "." + good[2],
		"embedded own key":       b64(`{"alg":"HS256","jwk":{"kty":"oct","k":"eHh4"}}`) + "." + good[1] + "." + good[2],
		"json serialisation":     `{"payload":"` + good[1] + `","protected":"` + good[0] + `","signature":"` + good[2] + `"}`,
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
