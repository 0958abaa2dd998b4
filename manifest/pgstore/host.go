package pgstore

import (
	"context"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// Host implements manifest.Links, and so does Hosts.
func (s rows) Host(ctx context.Context, name string) (*manifest.Host, error) {
	return queryOne(ctx, s.c, fmt.Sprintf("host %q", name), decode[manifest.Host], `SELECT row FROM cairn_hosts WHERE name = $1`, toBytes(name))
}

func (s rows) Hosts(ctx context.Context) ([]*manifest.Host, error) {
	return queryAll(ctx, s.c, "pgstore: hosts", decode[manifest.Host], `SELECT row FROM cairn_hosts ORDER BY name`)
}

// PutHost implements manifest.LinkChanges, and so does DropHost.
func (t *tx) PutHost(ctx context.Context, h *manifest.Host) error {
	return t.putRow(ctx, "pgstore: put host", h, `INSERT INTO cairn_hosts VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET row = excluded.row`, toBytes(h.Name))
}

func (t *tx) DropHost(ctx context.Context, name string) error {
	return t.drop(ctx, "pgstore: drop host", `DELETE FROM cairn_hosts WHERE name = $1`, toBytes(name))
}
