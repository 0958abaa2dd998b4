package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxCacheControl is how many bytes a Cache-Control may have: that of all
// directives.
const maxCacheControl = 255

var cacheSeconds = regexp.MustCompile(`^(max-age|s-maxage|stale-while-revalidate|stale-if-error)=[0-9]{1,9}$`)

// A CacheControl is the value of a header Cache-Control in its canonical form,
// "" for none.
type CacheControl string

// ParseCacheControl checks a list of directives of Cache-Control for answers.
// Only those that are known are taken, each once.
func ParseCacheControl(text string) (CacheControl, error) {
	if len(text) > maxCacheControl {
		return "", fmt.Errorf("cache_control of %d bytes: at most %d are taken", len(text), maxCacheControl)
	}
	if strings.TrimSpace(text) == "" {
		return "", nil
	}
	flags := []string{"public", "private", "no-store", "no-cache", "no-transform", "must-revalidate", "proxy-revalidate", "must-understand", "immutable"}
	var names, directives []string
	for d := range strings.SplitSeq(strings.ToLower(text), ",") {
		d = strings.Trim(d, " \t")
		name, _, _ := strings.Cut(d, "=")
		if !slices.Contains(flags, d) && !cacheSeconds.MatchString(d) {
			return "", fmt.Errorf("cache_control %.80q: %.40q is none of %s, max-age=SECONDS, s-maxage=SECONDS, stale-while-revalidate=SECONDS, stale-if-error=SECONDS",
				text, d, strings.Join(flags, ", "))
		}
		if slices.Contains(names, name) {
			return "", fmt.Errorf("cache_control %.80q: %s stands there twice", text, name)
		}
		names, directives = append(names, name), append(directives, d)
	}
	if slices.Contains(names, "public") && slices.Contains(names, "private") {
		return "", fmt.Errorf("cache_control %.80q: it cannot be public and private", text)
	}
	return CacheControl(strings.Join(directives, ", ")), nil
}

// Has reports whether a directive without a value stands in c.
func (c CacheControl) Has(directive string) bool {
	return slices.Contains(strings.Split(string(c), ", "), directive)
}

// Private returns c for what only its reader may see: caches that several share
// must not keep it.
func (c CacheControl) Private() CacheControl {
	kept := slices.DeleteFunc(strings.Split(string(c), ", "), func(d string) bool {
		return d == "" || d == "public" || d == "private" || strings.HasPrefix(d, "s-maxage=")
	})
	return CacheControl(strings.Join(append([]string{"private"}, kept...), ", "))
}
