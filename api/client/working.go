package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Working is how far something is that takes long.
type Working struct {
	Phase   string `json:"phase"` // waiting while something else must end first; at the end done
	Backend string `json:"backend,omitempty"`
	Done    int64  `json:"done"`
	Total   int64  `json:"total,omitempty"` // 0 where it is not known

	LeftSeconds int64 `json:"left_seconds,omitempty"` // of the phase, as far as that can be told
}

// A workLine is a line of the answer to what takes long.
type workLine[R, F any] struct {
	Working
	Found  *F     `json:"found"`  // something that was found
	Report *R     `json:"report"` // of the last line
	Error  *Error `json:"error"`  // that ended the work
}

// followWork sends a request for what takes long and returns the report at its end.
// It calls progress, if that is not nil, about once a second. The server gives up
// when ctx ends.
func followWork[R any](ctx context.Context, c *Client, q *request, progress func(*Working)) (*R, error) {
	return followFound[R, struct{}](ctx, c, q, progress, nil)
}

// followFound is followWork that also calls found, if that is not nil, with
// everything that was found.
func followFound[R, F any](ctx context.Context, c *Client, q *request, progress func(*Working), found func(*F)) (*R, error) {
	resp, err := c.sendRequest(ctx, q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var l workLine[R, F]
		err := d.Decode(&l)
		switch {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("the server ended before the work did: %w", err)
		case l.Error != nil:
			return nil, l.Error
		case l.Report != nil:
			return l.Report, nil
		case l.Found != nil:
			if found != nil {
				found(l.Found)
			}
		case progress != nil:
			progress(&l.Working)
		}
	}
}
