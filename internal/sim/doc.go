// Package sim runs the real code of the store under a scheduler that a seed
// decides: several uploaders, a collector and a mover work side by side, and at
// each call of the index, of the metadata store and of the backend the scheduler
// says who goes on next. It makes calls fail before or after their effect, has
// the process crash, and lets deletes come late. After each step invariants are
// checked, and at the end whether the answers to clients that share files are
// those of one order of their calls (internal/linear). All of it is in the tests:
// see scheduler_test.go first, and plan_test.go for what a seed decides.
package sim
