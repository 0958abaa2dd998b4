package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

const (
	// freeDoublings bounds the search for the first free number of a name:
	// it tries 2, 4 … 2^freeDoublings, and then halves the gap below the first
	// that is free.
	freeDoublings = 20

	// freeRandoms is how many random numbers below maxFreeNumber are tried
	// where all those are taken.
	freeRandoms   = 8
	maxFreeNumber = 1_000_000_000

	// maxFreeLookups is what one search costs at most, whatever names exist:
	// the name itself, the doublings, the halvings or the random numbers. The
	// search runs inside a transaction.
	maxFreeLookups = 1 + 2*freeDoublings + freeRandoms
)

// A pathFinder finds active files by their paths: a transaction.
type pathFinder interface {
	FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error)
}

// freeName returns name, or a numbered form of it, that no active file of the
// folder has. It is ErrExist if none is found in maxFreeLookups look-ups.
func freeName(ctx context.Context, rows pathFinder, bucket, folder, name string) (string, error) {
	taken := func(name string) (bool, error) {
		_, err := rows.FileByPath(ctx, bucket, names.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	}
	if t, err := taken(name); !t || err != nil {
		return name, err
	}
	low, free := 1, 0 // low is taken
	for n := 2; n <= 1<<freeDoublings; n *= 2 {
		t, err := taken(names.Numbered(name, n))
		if err != nil {
			return "", err
		}
		if !t {
			free = n
			break
		}
		low = n
	}
	if free == 0 {
		return freeRandomName(name, taken)
	}
	for low+1 < free { // low is taken, free is free
		mid := (low + free) / 2
		t, err := taken(names.Numbered(name, mid))
		if err != nil {
			return "", err
		}
		if t {
			low = mid
		} else {
			free = mid
		}
	}
	return names.Numbered(name, free), nil
}

// freeRandomName is for a name whose numbers that are powers of two are all
// taken. Who took them cannot foresee a random one.
func freeRandomName(name string, taken func(string) (bool, error)) (string, error) {
	for range freeRandoms {
		try := names.Numbered(name, 1<<freeDoublings+1+rand.IntN(maxFreeNumber))
		if t, err := taken(try); !t || err != nil {
			return try, err
		}
	}
	return "", fmt.Errorf("no free number was found for %q: %w", names.Clip(name), ErrExist)
}
