package links

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cairn-store/cairn/manifest"
)

// A token names the links of one Prepare: those that it made, and those that they
// replace. It carries no rights: who may call Confirm has the host's.
type token struct {
	Session  uint64            `json:"s"` // in which it was made
	Adds     []manifest.LinkID `json:"a,omitempty"`
	Releases []manifest.LinkID `json:"r,omitempty"`
}

const tokenPrefix = "t1."

func (t *token) encode() string {
	p, err := json.Marshal(t)
	if err != nil {
		panic(err) // lists of strings
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(p)
}

func decodeToken(text string) (t token, err error) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	p, err := base64.RawURLEncoding.DecodeString(rest)
	if err == nil {
		err = json.Unmarshal(p, &t)
	}
	if !ok || err != nil {
		return token{}, fmt.Errorf("%.40q: %w", text, ErrToken)
	}
	for _, ids := range [][]manifest.LinkID{t.Adds, t.Releases} {
		for _, id := range ids {
			if _, ok := manifest.ParseLinkID(string(id)); !ok {
				return token{}, fmt.Errorf("%.40q: %w", text, ErrToken)
			}
		}
	}
	return t, nil
}
