package client

import (
	"context"
	"net/http"
)

// KeyOptions are the name and the rights of a new API key.
type KeyOptions struct {
	Name       string   `json:"name"`
	Buckets    []string `json:"buckets"`    // "*" is all
	Operations []string `json:"operations"` // create, read, update, delete, download, list, trash
	Operator   bool     `json:"operator"`   // may do everything
	ExpiresIn  string   `json:"expires_in,omitempty"`
}

// NewKey makes an API key. Its token is in the answer and cannot be read
// again. As all methods of this file but Sign it is for operators.
func (c *Client) NewKey(ctx context.Context, opts *KeyOptions) (*Key, error) {
	q := &request{method: http.MethodPost, admin: true, path: []string{"keys"}}
	k := new(Key)
	return k, c.callJSON(ctx, q.withJSON(opts), k)
}

// Keys lists the API keys.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	var out struct {
		Keys []Key `json:"keys"`
	}
	err := c.callJSON(ctx, &request{method: http.MethodGet, admin: true, path: []string{"keys"}}, &out)
	return out.Keys, err
}

// DropKey revokes an API key.
func (c *Client) DropKey(ctx context.Context, id string) error {
	return c.callJSON(ctx, &request{method: http.MethodDelete, admin: true, path: []string{"keys", id}}, nil)
}

// RotateSigningKey makes a new key for signing URLs. With dropOld the server
// deletes the older keys, so that URLs signed with them stop working.
func (c *Client) RotateSigningKey(ctx context.Context, dropOld bool) (id string, err error) {
	q := &request{method: http.MethodPost, admin: true, path: []string{"signing-keys"}}
	var out struct {
		Key string `json:"key"`
	}
	err = c.callJSON(ctx, q.withJSON(map[string]bool{"drop_old": dropOld}), &out)
	return out.Key, err
}

// SignOptions are options of Sign.
type SignOptions struct {
	Operation string `json:"operation,omitempty"`  // download (default), view, upload
	ExpiresIn string `json:"expires_in,omitempty"` // such as 15m
	Version   uint64 `json:"version,omitempty"`    // number of the version that the URL is bound to
	MaxUses   int64  `json:"max_uses,omitempty"`
	IP        string `json:"ip,omitempty"` // address or network
}

// Sign makes a URL that opens a file without a token.
func (c *Client) Sign(ctx context.Context, bucket, id string, opts *SignOptions) (*SignedURL, error) {
	if opts == nil {
		opts = &SignOptions{}
	}
	q := &request{method: http.MethodPost, path: []string{bucket, id, "sign"}}
	u := new(SignedURL)
	return u, c.callJSON(ctx, q.withJSON(opts), u)
}
