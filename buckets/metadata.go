package buckets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
)

const (
	maxMetadata = 16 << 10 // bytes of a file's metadata as JSON
	maxTags     = 64
	maxTag      = 128 // bytes
)

// encodeMetadata returns metadata as canonical JSON, nil for nil and no bytes
// for none.
func encodeMetadata(m map[string]any) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	if len(m) == 0 {
		return []byte{}, nil
	}
	p, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if err := rules.CheckNesting(p); err != nil {
		return nil, fmt.Errorf("%w: it is %w", ErrMetadata, err)
	}
	if len(p) > maxMetadata {
		return nil, fmt.Errorf("%d bytes of metadata, at most %d are kept: %w", len(p), maxMetadata, ErrMetadata)
	}
	return p, nil
}

func decodeMetadata(p []byte) map[string]any {
	m := make(map[string]any)
	if len(p) > 0 {
		json.Unmarshal(p, &m) // encodeMetadata made it
	}
	return m
}

// decodeExact is decodeMetadata for what is stored again: no number loses
// digits on the way.
func decodeExact(p []byte) map[string]any {
	m := make(map[string]any)
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	if len(p) > 0 {
		d.Decode(&m) // encodeMetadata made it
	}
	return m
}

// cleanCacheControl returns a Cache-Control in its canonical form.
func cleanCacheControl(text string) (string, error) {
	c, err := schema.ParseCacheControl(text)
	if err != nil {
		return "", fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	return string(c), nil
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%d tags, at most %d are kept: %w", len(tags), maxTags, ErrMetadata)
	}
	for _, t := range tags {
		if t == "" || len(t) > maxTag {
			return fmt.Errorf("tag %q: want 1 to %d bytes: %w", names.Clip(t), maxTag, ErrMetadata)
		}
	}
	return nil
}
