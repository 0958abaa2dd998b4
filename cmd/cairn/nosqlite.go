//go:build race || nosqlite

package main

// sqliteDriver is missing in this build.
const sqliteDriver = ""
