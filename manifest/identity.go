package manifest

import "context"

// Identities are random, made when they are first asked for, and durable
// before they are told.
type Identities interface {
	// StoreID names the store, over rebuilds of its database too.
	StoreID(ctx context.Context) ([16]byte, error)

	// OwnerID names this database: one made anew is another.
	OwnerID(ctx context.Context) ([16]byte, error)

	// DomainID names a domain, whatever it is called.
	DomainID(ctx context.Context, domain string) ([16]byte, error)

	// SetIdentity makes a database that is made anew that of a store whose
	// packs there are. What is zero or not named stays as it is.
	SetIdentity(ctx context.Context, store [16]byte, domains map[string][16]byte) error
}
