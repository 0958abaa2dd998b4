package access

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxSubject = 255 // bytes, as in OpenID Connect

// CheckSubject checks the name of somebody, the ID of a principal: it becomes the
// owner of files, and stands in logs and rules. Names that API keys have are
// refused.
func CheckSubject(sub string) error {
	// What was no UTF-8 has become the same character, whoever was meant.
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	switch {
	case strings.TrimSpace(sub) == "":
		return errors.New("it has no sub")
	case len(sub) > maxSubject:
		return fmt.Errorf("its sub has %d bytes, at most %d are taken", len(sub), maxSubject)
	case strings.ContainsFunc(sub, odd):
		return errors.New("its sub has characters that cannot be printed")
	case strings.HasPrefix(sub, KeyOwner):
		return fmt.Errorf("its sub begins with %q, as those of API keys do", KeyOwner)
	}
	return nil
}
