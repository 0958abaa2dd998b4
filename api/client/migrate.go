package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Migrated says how far the move of a bucket is.
type Migrated struct {
	From        string `json:"from"` // the backend that it is moved from
	Files       int64  `json:"files"`
	Versions    int64  `json:"versions"`
	Bytes       int64  `json:"bytes"`        // of the versions
	CopiedBytes int64  `json:"copied_bytes"` // of what the other backend had not
	Done        bool   `json:"done"`
	Error       *Error `json:"error,omitempty"` // that ended it
}

// Migrate moves a bucket to another backend, and tells progress, if that is
// not nil, how far it is. When ctx ends it is given up. For operators.
func (c *Client) Migrate(ctx context.Context, bucket, to string, progress func(*Migrated)) (*Migrated, error) {
	q := &request{method: http.MethodPost, admin: true, path: []string{"migrate"}}
	resp, err := c.sendRequest(ctx, q.withJSON(map[string]string{"bucket": bucket, "to": to}))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		m := new(Migrated)
		err := d.Decode(m)
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("the server ended before the move did: %w", err)
		case m.Error != nil:
			return m, m.Error
		case m.Done:
			return m, nil
		}
		if progress != nil {
			progress(m)
		}
	}
}
