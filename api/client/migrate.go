package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Migrated is the progress of the move of a bucket.
type Migrated struct {
	From        string `json:"from"` // backend before the move
	Files       int64  `json:"files"`
	Versions    int64  `json:"versions"`
	Bytes       int64  `json:"bytes"`        // of the versions
	CopiedBytes int64  `json:"copied_bytes"` // of chunks that the other backend lacked
	Done        bool   `json:"done"`
	Error       *Error `json:"error,omitempty"` // that ended the move
}

// Migrate moves a bucket to another backend, and calls progress, if that is
// not nil, while it works. The server gives the move up when ctx ends. For
// operators.
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
