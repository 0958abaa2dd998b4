// Package buckets is the file store that applications embed: named buckets
// of versioned files over a deduplicating chunk store. local.Open opens one
// on this machine.
package buckets

import (
	"context"
)

// A Store holds buckets.
type Store struct{}

// Bucket returns the bucket of that name, for trusted callers; Bucket.As
// narrows it to a principal. An unknown name is ErrNoBucket.
func (s *Store) Bucket(name string) (*Bucket, error) { panic("unwritten") }

// Buckets returns the names of all buckets, sorted.
func (s *Store) Buckets() []string { panic("unwritten") }

// Dedup reports what the store holds and what it takes.
func (s *Store) Dedup(ctx context.Context) (*DedupReport, error) { panic("unwritten") }

// Ready reports whether the store can take writes now: nil, or why not.
func (s *Store) Ready(ctx context.Context) error { panic("unwritten") }

// Close waits for work under way and closes the store.
func (s *Store) Close() error { panic("unwritten") }
