// Package unwritable makes directories that a test may not write to, for tests of
// stores that are only read. It knows how on Linux.
package unwritable
