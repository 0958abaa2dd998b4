package manifest

import "context"

// Identities are the random IDs of the store, of this database and of domains. A
// method makes an ID on its first call. An ID is durable before it is returned.
type Identities interface {
	// StoreID names the store. It survives a rebuild of the database.
	StoreID(ctx context.Context) ([16]byte, error)

	// OwnerID names this database. A rebuilt database has another one.
	OwnerID(ctx context.Context) ([16]byte, error)

	// DomainID names a domain, independently of the name of the domain.
	DomainID(ctx context.Context, domain string) ([16]byte, error)

	// SetIdentity sets the IDs of a new database to those that the packs of a
	// store have. It leaves out zero IDs.
	SetIdentity(ctx context.Context, store [16]byte, domains map[string][16]byte) error
}
