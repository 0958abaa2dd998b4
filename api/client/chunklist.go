package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

const (
	chunkRecord = 32 + 4   // bytes
	maxChunk    = 16 << 20 // bytes of any splitter's chunk
)

// A chunk is an element of a chunk list.
type chunk struct {
	digest digest
	size   int
}

func appendChunks(p []byte, list []chunk) []byte {
	for _, c := range list {
		p = append(p, c.digest[:]...)
		p = binary.BigEndian.AppendUint32(p, uint32(c.size))
	}
	return p
}

func parseChunks(p []byte) ([]chunk, error) {
	if len(p)%chunkRecord != 0 {
		return nil, fmt.Errorf("chunk list breaks off: %w", errContent)
	}
	list := make([]chunk, 0, len(p)/chunkRecord)
	for ; len(p) > 0; p = p[chunkRecord:] {
		n := binary.BigEndian.Uint32(p[32:])
		if n == 0 || n > maxChunk {
			return nil, fmt.Errorf("a chunk of %d bytes: %w", n, errContent)
		}
		list = append(list, chunk{digest(p[:32]), int(n)})
	}
	return list, nil
}

// listPart returns up to limit elements of a version's chunk list, beginning
// with number after, and the name of the splitter.
func (c *Client) listPart(ctx context.Context, bucket, manifestID string, after, limit int, opts *GetOptions) ([]chunk, string, error) {
	q := url.Values{"after": {strconv.Itoa(after)}, "limit": {strconv.Itoa(limit)}}
	if opts != nil && opts.Trashed {
		q.Set("trashed", "true")
	}
	resp, err := c.sendRequest(ctx, &request{method: http.MethodGet, path: []string{bucket, manifestID, "manifest"}, query: q,
		header: http.Header{"Accept": {ChunkListType}}})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if t := resp.Header.Get("Content-Type"); t != ChunkListType {
		return nil, "", fmt.Errorf("chunk list of type %.80q: %w", t, errContent)
	}
	p, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)*chunkRecord+1))
	if err != nil {
		return nil, "", &brokenError{err}
	}
	list, err := parseChunks(p)
	return list, resp.Header.Get("X-Chunker"), err
}
