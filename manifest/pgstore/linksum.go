package pgstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// A linkSum is how many links of a target, a file or a version, have a state and
// a policy.
type linkSum struct {
	target        string
	state, policy int32
}

// linkSums returns the sums of each target.
func linkSums[ID ~string](ctx context.Context, c conn, ids []ID) ([]manifest.LinkSums, error) {
	out := make([]manifest.LinkSums, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	found := make(map[ID]*manifest.LinkSums, len(ids))
	_, err := queryAll(ctx, c, "pgstore: sums of links", func(row pgx.CollectableRow) (none struct{}, err error) {
		var target []byte
		var state, policy int32
		var n int64
		if err := row.Scan(&target, &state, &policy, &n); err != nil {
			return none, err
		}
		sums := found[ID(target)]
		if sums == nil {
			sums = &manifest.LinkSums{}
			found[ID(target)] = sums
		}
		if uint(state) >= uint(len(sums)) || uint(policy) >= uint(len(sums[state])) {
			return none, fmt.Errorf("links of %s, state %d, policy %d: %w", target, state, policy, errEntry)
		}
		sums[state][policy] = n
		return none, nil
	}, `SELECT target, state, policy, links FROM cairn_link_sums WHERE target = ANY($1)`, toByteSlices(ids))
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if sums := found[id]; sums != nil {
			out[i] = *sums
		}
	}
	return out, nil
}

// linkChanges are what is to be added to sums of links.
type linkChanges map[linkSum]int64

// addLink adds a link to the sums of its file and of the version that it names,
// or subtracts it if sign is -1.
func (c linkChanges) addLink(l *manifest.Link, sign int64) {
	c[linkSum{string(l.File), int32(l.State), int32(l.OnDelete)}] += sign
	if l.Version != "" {
		c[linkSum{string(l.Version), int32(l.State), int32(l.OnDelete)}] += sign
	}
}

// queueAll queues statements that add the changes and remove the sums that
// became zero. Sums are written in their order, so that transactions that write
// the same ones wait for each other and do not deadlock.
func (c linkChanges) queueAll(b *pgx.Batch) {
	maps.DeleteFunc(c, func(_ linkSum, n int64) bool { return n == 0 })
	if len(c) == 0 {
		return
	}
	var targets [][]byte
	var states, policies []int32
	var links []int64
	for _, s := range slices.SortedFunc(maps.Keys(c), func(a, b linkSum) int {
		return cmp.Or(cmp.Compare(a.target, b.target), cmp.Compare(a.state, b.state), cmp.Compare(a.policy, b.policy))
	}) {
		targets, links = append(targets, toBytes(s.target)), append(links, c[s])
		states, policies = append(states, s.state), append(policies, s.policy)
	}
	b.Queue(`INSERT INTO cairn_link_sums AS s (target, state, policy, links)
		SELECT * FROM unnest($1::bytea[], $2::int4[], $3::int4[], $4::int8[]) AS n
		ON CONFLICT (target, state, policy) DO UPDATE SET links = s.links + excluded.links`, targets, states, policies, links)
	b.Queue(`DELETE FROM cairn_link_sums WHERE target = ANY($1) AND links = 0`, targets)
}

// queueLinkSums queues statements that make all sums anew from the rows.
func queueLinkSums(b *pgx.Batch) {
	b.Queue(`DELETE FROM cairn_link_sums`)
	b.Queue(`INSERT INTO cairn_link_sums (target, state, policy, links) SELECT file, state, policy, count(*) FROM cairn_links GROUP BY 1, 2, 3`)
	b.Queue(`INSERT INTO cairn_link_sums (target, state, policy, links)
		SELECT version, state, policy, count(*) FROM cairn_links WHERE version <> '' GROUP BY 1, 2, 3`)
}
