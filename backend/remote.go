package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Driver says where a backend lies, and opens it. It is a value that a program
// makes and passes on, so a program links only the drivers that it names.
type Driver interface {
	// Open returns the backend. It changes nothing that is stored, and may be called
	// again for another Backend of the same objects.
	Open(ctx context.Context) (Backend, error)

	// Place names the options that say where the backend lies, for messages that ask
	// an operator to correct them: its bucket "b" or prefix "p".
	Place() string
}

// A Remote is a Backend that several machines can reach. What one of them cannot see
// of another is guarded by package owner: one store at a time writes to it.
type Remote interface {
	Backend

	// SingleWriter reports whether the options promise that no other store will ever
	// write there, which is needed where of two writes of one new key both succeed.
	SingleWriter() bool

	// Probe tries, under a scratch prefix that it cleans up, whether the service does
	// what Cairn relies on. thorough tries more and takes longer.
	Probe(ctx context.Context, thorough bool) ([]Finding, error)

	// Sweep removes what writes that were begun before that time and never ended have
	// left. It returns how many there were.
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// A Finding is the result of one step of a probe.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // without it the backend cannot be used
	Detail string `json:"detail,omitempty"`
}

// ConditionalPut is the name of the step without which two stores do not notice
// each other. It is needed where no SingleWriter is promised.
const ConditionalPut = "conditional put"

// Refuse returns an error that names the steps that failed and are needed, nil if
// there are none.
func Refuse(found []Finding) error {
	var errs []error
	for _, f := range found {
		if f.Needed && !f.OK {
			errs = append(errs, fmt.Errorf("%s: %s", f.Name, f.Detail))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: the service does not keep what Cairn relies on: %w", ErrUnavailable, errors.Join(errs...))
}
