// Package internal opens what the packages below buckets need of each other, and
// what nobody else may use: it asks nobody whether its user may.
package internal

// A Pass is shown by those who may.
type Pass struct{}
