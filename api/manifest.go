package api

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

// listChunks answers with the chunk list of a version, or a part of it: a JSON
// object a line, or 36 bytes a chunk if the client accepts ChunkListType.
func listChunks(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error {
	opts, _, err := getOptions(r)
	if err != nil {
		return err
	}
	q := queryOf(r)
	after, limit := q.readNumber("after", 0, 0, math.MaxInt32), q.readNumber("limit", math.MaxInt, 1, math.MaxInt32)
	if q.err != nil {
		return q.err
	}
	f, err := b.Stat(r.Context(), mux.Vars(r)["id"], opts)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("X-Chunker", f.Chunker)
	h.Set("X-Manifest-Id", f.ManifestID)
	out := bufio.NewWriter(w)
	write := writeChunkLine
	h.Set("Content-Type", "application/x-ndjson")
	if acceptsType(r, client.ChunkListType) {
		write = writeChunkRecord
		h.Set("Content-Type", client.ChunkListType)
	}
	// By manifest ID, so that the list is of the version that the headers
	// name, even if the file changes meanwhile.
	n, started := uint64(0), false
	for c, err := range b.Chunks(r.Context(), f.ManifestID, int64(after), &buckets.GetOptions{Trashed: opts.Trashed}) {
		if n++; err == nil {
			started = true
			err = write(out, c)
		}
		if err != nil && started {
			return &brokenError{err}
		}
		if err != nil {
			return err
		}
		if n == limit {
			break
		}
	}
	out.Flush() // a client that is gone needs no answer
	return nil
}

func writeChunkLine(w *bufio.Writer, c buckets.Chunk) error {
	return json.NewEncoder(w).Encode(client.Chunk{Digest: c.Digest, Size: c.Size})
}

// writeChunkRecord writes a digest and a size.
func writeChunkRecord(w *bufio.Writer, c buckets.Chunk) error {
	p, err := hex.AppendDecode(w.AvailableBuffer(), []byte(c.Digest))
	if err != nil {
		return fmt.Errorf("digest %q: %w", c.Digest, err)
	}
	_, err = w.Write(binary.BigEndian.AppendUint32(p, uint32(c.Size)))
	return err
}

// acceptsType reports whether Accept names a media type.
func acceptsType(r *http.Request, mediaType string) bool {
	for _, line := range r.Header.Values("Accept") {
		for t := range strings.SplitSeq(line, ",") {
			t, _, _ = strings.Cut(t, ";")
			if strings.EqualFold(strings.TrimSpace(t), mediaType) {
				return true
			}
		}
	}
	return false
}
