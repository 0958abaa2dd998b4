package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/schema"
)

// ErrToken reports a token that is not valid. The text says why.
var ErrToken = access.RefuseCredentials("token is not valid")

// ErrKeysUnavailable reports that the keys for checking tokens could not be
// read, so that the token may be valid or not.
var ErrKeysUnavailable = errors.New("the keys to check tokens with cannot be had now")

const maxToken = 16 << 10 // bytes

// A Verifier checks the tokens of one issuer: JSON Web Tokens (RFC 7519). It
// accepts only the algorithms of its configuration, each with a key of its
// kind, whatever the header of the token names.
type Verifier struct {
	cfg    schema.JWT
	algs   []jose.SignatureAlgorithm
	public *keySet // nil for none
}

// NewVerifier returns a Verifier of cfg. It reads public keys from a file at
// once, those of a URL when the first token comes.
func NewVerifier(cfg *schema.JWT) (*Verifier, error) {
	v := &Verifier{cfg: *cfg}
	for _, a := range cfg.Algorithms() {
		v.algs = append(v.algs, jose.SignatureAlgorithm(a))
	}
	if cfg.JWKS == "" {
		return v, nil
	}
	v.public = newKeySet(cfg.JWKS, v.algs)
	if !v.public.isRemote() {
		if err := v.public.loadKeys(context.Background()); err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
	}
	return v, nil
}

// candidateKeys returns the keys that may have signed a token: those for its
// algorithm and, if it names one, with its key ID.
func (v *Verifier) candidateKeys(ctx context.Context, h jose.Header) ([]any, error) {
	switch {
	case h.Algorithm == string(jose.HS256) && v.cfg.Secret != "":
		return []any{[]byte(v.cfg.Secret)}, nil
	case h.Algorithm != string(jose.HS256) && v.public != nil:
		return v.public.findKeys(ctx, h.KeyID, jose.SignatureAlgorithm(h.Algorithm))
	}
	return nil, nil
}

// Verify returns the subject and the claims of a token, or
// ErrToken or ErrKeysUnavailable.
func (v *Verifier) Verify(ctx context.Context, token string) (sub string, claims map[string]any, err error) {
	if len(token) > maxToken {
		return "", nil, fmt.Errorf("%w: it is larger than 16 KiB", ErrToken)
	}
	t, err := jose.ParseSignedCompact(token, v.algs)
	if err != nil {
		return "", nil, fmt.Errorf("%w: it is not a JWT signed with %s", ErrToken, strings.Join(v.cfg.Algorithms(), ", "))
	}
	text, err := v.verifySignature(ctx, t)
	if err != nil {
		return "", nil, err
	}
	std, claims, err := parseClaims(text)
	if err == nil {
		err = v.checkClaims(std)
	}
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return std.Subject, claims, nil
}

// verifySignature returns the payload of a token if a known key has signed it.
func (v *Verifier) verifySignature(ctx context.Context, t *jose.JSONWebSignature) ([]byte, error) {
	h := t.Signatures[0].Header
	// No extension is understood here, that of an unencoded payload least of all.
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if h.ExtraHeaders[name] != nil {
			return nil, fmt.Errorf("%w: header %s is not taken", ErrToken, name)
		}
	}
	candidates, err := v.candidateKeys(ctx, h)
	if err != nil {
		return nil, err
	}
	for _, key := range candidates {
		if text, err := t.Verify(key); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("%w: its signature is of no known key", ErrToken)
}

// Issue makes a token that a Verifier of cfg accepts, if cfg has a secret: for
// tests and for trying things out. Claims must not be sub, iss, aud, iat or
// exp.
func Issue(cfg *schema.JWT, sub string, claims map[string]any, life time.Duration) (string, error) {
	if cfg == nil || cfg.Secret == "" {
		return "", errors.New("auth: tokens can be made only with auth.jwt.secret; with jwks the issuer makes them")
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(cfg.Secret)}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	if err := access.CheckSubject(sub); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	now := time.Now()
	std := jwt.Claims{Subject: sub, Issuer: cfg.Issuer, Audience: jwt.Audience(cfg.Audience), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life))}
	token, err := jwt.Signed(signer).Claims(claims).Claims(std).Serialize()
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	return token, nil
}
