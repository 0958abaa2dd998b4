// Package records is a test of package links: hosts with records in real SQLite
// databases, and a store, do random things in an order that a seed decides. Either
// is killed between any two steps, loses the end of its log, comes back from a backup
// or is made anew from packs. After each step a plain model says what must be there
// and what must be gone: see model_test.go, and records_test.go for how to repeat a
// seed.
package records
