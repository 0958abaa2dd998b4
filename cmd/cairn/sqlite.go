//go:build !race && !nosqlite

package main

import _ "modernc.org/sqlite" // registers sqliteDriver

// sqliteDriver reads databases of Alyx. It is left out of builds that only look for
// mistakes of ours, where it takes a minute to compile: with the race detector, and
// with the tag nosqlite.
const sqliteDriver = "sqlite"
