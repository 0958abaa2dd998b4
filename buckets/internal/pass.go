// Package internal opens to the packages below buckets what they need of it, and
// what nobody else may use, since it checks no access.
package internal

// A Pass is an argument that only packages below buckets can make:
// Bucket.Intake demands it. The field keeps it from being written as struct{}{}.
type Pass struct{ _ struct{} }
