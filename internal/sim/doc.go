// Package sim runs the real code of the store under a scheduler that a seed
// decides: several uploaders, a collector and a mover work side by side, and at
// each call of the index, of the metadata store and of the backend the scheduler
// says who goes on next. It makes calls fail before or after their effect, has
// the process crash, and lets deletes come late. After each step invariants are
// checked. All of it is in the tests: see scheduler_test.go first.
package sim
