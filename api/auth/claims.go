package auth

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
)

const (
	// maxDate is the end of the year 9999. A date in milliseconds lies beyond it.
	maxDate = 253_402_300_799
)

// parseClaims reads the payload of a token, whose signature has been verified:
// the claims that RFC 7519 registers, and all of them. An error names the claim
// that is wrong. Names are as they are spelt, and stand once in their object.
func parseClaims(text []byte) (*jwt.Claims, map[string]any, error) {
	each := make(map[string]json.RawMessage)
	switch err := json.Unmarshal(text, &each); {
	case err != nil:
		return nil, nil, fmt.Errorf("its claims are no JSON object with each name once: %w", err)
	case each == nil, !utf8.Valid(text):
		return nil, nil, errors.New("its claims are no JSON object in UTF-8")
	}
	std := &jwt.Claims{}
	const word, date = "a text", "a number of seconds since 1970, up to the year 9999"
	for _, c := range []struct {
		name string
		into any
		want string
	}{
		{"iss", &std.Issuer, word}, {"sub", &std.Subject, word}, {"jti", &std.ID, word},
		{"aud", &std.Audience, "a text, or a list of texts"},
		{"exp", &std.Expiry, date}, {"nbf", &std.NotBefore, date}, {"iat", &std.IssuedAt, date},
	} {
		raw, there := each[c.name]
		if !there {
			continue
		}
		err := json.Unmarshal(raw, c.into)
		if d, ok := c.into.(**jwt.NumericDate); ok && *d != nil && (**d < 0 || **d > maxDate) {
			err = jwt.ErrUnmarshalNumericDate
		}
		if err != nil || string(raw) == "null" {
			return nil, nil, fmt.Errorf("its %s is not %s", c.name, c.want)
		}
	}
	if err := rules.CheckNesting(text); err != nil {
		return nil, nil, fmt.Errorf("its claims are %w", err)
	}
	claims := make(map[string]any)
	if err := json.Unmarshal(text, &claims); err != nil {
		return nil, nil, fmt.Errorf("its claims cannot be read: %w", err)
	}
	return std, claims, nil
}

// defaultLeeway is by how much clocks may differ where nothing is said.
const defaultLeeway = 30 * time.Second

// checkClaims checks that a token is for this service, and now.
func (v *Verifier) checkClaims(std *jwt.Claims) error {
	want := jwt.Expected{Issuer: v.cfg.Issuer, Time: time.Now()}
	if len(v.cfg.Audience) > 0 {
		want.AnyAudience = jwt.Audience(v.cfg.Audience)
	}
	switch err := std.ValidateWithLeeway(want, v.cfg.Leeway.Or(defaultLeeway)); {
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("it has expired (exp)")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("it is not valid yet (nbf)")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errors.New("it is issued in the future (iat)")
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return errors.New("it is of another issuer (iss)")
	case errors.Is(err, jwt.ErrInvalidAudience):
		return errors.New("it is for another audience (aud)")
	case err != nil:
		return errors.New("its claims are not valid")
	}
	if std.Expiry == nil && !v.cfg.ExpOptional {
		return errors.New("it has no exp, and would be valid for ever")
	}
	return access.CheckSubject(std.Subject)
}
