package cas

import (
	"strings"
	"testing"
)

// PocketBase 7762: a panic in a worker's goroutine killed the process. Here a
// codec that panics fails its frame.
func TestPocketBase7762CodecPanics(t *testing.T) {
	c := &coder{} // has no decoder, and no map to keep encoders in
	if _, err := c.decodePayload(Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x09, 0x00, 0x00, 0x41}, nil, 1); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("decode: %v", err)
	}
	if _, _, err := c.encodePayload(Compression{Codec: Zstd}, []byte("text"), nil, nil); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("encode: %v", err)
	}
}
