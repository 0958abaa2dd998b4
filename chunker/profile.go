package chunker

import (
	"fmt"
	"strings"
)

const (
	// maxChunk bounds, in bytes, what a name may demand of the reader's
	// memory: names come from manifests, which may be damaged.
	maxChunk = 16 << 20

	// maxBits bounds the bits that a name may ask to be zero. With 32 a cut
	// is already rarer than one in 4 GiB.
	maxBits = 32
)

// defaultProfile is what "default" stands for.
const defaultProfile = "balanced"

// profiles lists the profiles, in the order in which errors show them.
// An entry may be added; one that was released stays as it is, because the
// newer versions of a file are cut as the older ones were.
var profiles = [...]struct {
	name     string
	splitter Splitter
}{
	{"fine", newGear(4<<10, 16<<10, 64<<10, 13, 11)},
	{"balanced", newGear(16<<10, 64<<10, 256<<10, 15, 13)},
	{"bulk", newGear(64<<10, 256<<10, 1<<20, 17, 15)},
	{"media", newGear(256<<10, 1<<20, 4<<20, 19, 17)},
	{"whole", Fixed(4 << 20)},
}

// Profile returns the splitter of a profile by its name: fine, balanced, bulk,
// media or whole. The name default stands for balanced.
func Profile(name string) (Splitter, error) {
	for _, p := range profiles {
		if p.name == name || p.name == defaultProfile && name == "default" {
			return p.splitter, nil
		}
	}
	return nil, fmt.Errorf("chunker: unknown profile %q (valid: %s, default)", name, strings.Join(Profiles(), ", "))
}

// Profiles returns the names of the profiles.
func Profiles() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.name
	}
	return names
}

// Parse returns the splitter whose String is name.
func Parse(name string) (Splitter, error) {
	s, err := parseName(name)
	if err != nil {
		return nil, fmt.Errorf("chunker: splitter %q: %w", name, err)
	}
	// Sscanf is lenient (signs, leading zeros, a longer name); the name is not.
	if s.String() != name {
		return nil, fmt.Errorf("chunker: splitter %q: not in its canonical form, %s", name, s)
	}
	return s, nil
}

func parseName(name string) (Splitter, error) {
	algorithm, _, _ := strings.Cut(name, "-")
	switch algorithm {
	case "fixed":
		var n int
		if _, err := fmt.Sscanf(name, fixedName, &n); err != nil {
			return nil, fmt.Errorf("want fixed-LENGTH: %w", err)
		}
		if n < 1 || n > maxChunk {
			return nil, fmt.Errorf("length %d is not within 1 and %d", n, maxChunk)
		}
		return fixed(n), nil
	case "gear1":
		var low, normal, high, strict, loose int
		if _, err := fmt.Sscanf(name, gearName, &low, &normal, &high, &strict, &loose); err != nil {
			return nil, fmt.Errorf("want gear1-MIN-NORMAL-MAX-STRICT-LOOSE: %w", err)
		}
		if low < gearWindow || normal < low || high < normal || high > maxChunk {
			return nil, fmt.Errorf("lengths do not rise from at least %d to at most %d", gearWindow, maxChunk)
		}
		if loose < 1 || strict < loose || strict > maxBits {
			return nil, fmt.Errorf("bits do not fall from at most %d to at least 1", maxBits)
		}
		return newGear(low, normal, high, strict, loose), nil
	}
	return nil, fmt.Errorf("unknown algorithm %q", algorithm)
}

const fixedName = "fixed-%d"

// fixed cuts chunks of one length.
type fixed int

// Fixed returns a splitter that cuts every n bytes; only the last chunk of a
// stream may be shorter. It panics unless 1 <= n <= 16 MiB.
func Fixed(n int) Splitter {
	if n < 1 || n > maxChunk {
		panic(fmt.Sprintf("chunker: fixed length %d is not within 1 and %d", n, maxChunk))
	}
	return fixed(n)
}

func (f fixed) Split(p []byte) int { return min(len(p), int(f)) }
func (f fixed) Min() int           { return int(f) }
func (f fixed) Max() int           { return int(f) }
func (f fixed) String() string     { return fmt.Sprintf(fixedName, int(f)) }
