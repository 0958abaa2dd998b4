package api

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

const maxRanges = 16 // of a request; with more the whole file is sent

// simplifyHeaders returns r with the headers of conditions and of ranges as
// http.ServeContent understands them, for a content of size bytes.
func simplifyHeaders(r *http.Request, size int64) *http.Request {
	r = r.Clone(r.Context())
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if lines := r.Header[name]; len(lines) > 1 {
			r.Header.Set(name, strings.Join(lines, ", ")) // ServeContent reads the first
		}
	}
	ranges := r.Header["Range"]
	r.Header.Del("Range")
	if len(ranges) == 1 && r.Method != http.MethodHead {
		if clean := cleanRange(ranges[0], size); clean != "" {
			r.Header.Set("Range", clean)
		}
	}
	return r
}

// outside is a range that http.ServeContent refuses, after the conditions of
// the request are found to hold.
const outside = "bytes=outside"

// cleanRange returns a Range header as http.ServeContent reads it: numbers are
// small enough for it, and ranges outside of the content are left out unless
// all are. It returns "" for a header that is to be ignored: of another unit,
// not as RFC 9110 has it, or of too many ranges.
func cleanRange(header string, size int64) string {
	unit, set, _ := strings.Cut(header, "=")
	if !strings.EqualFold(unit, "bytes") {
		return ""
	}
	var inside []string
	n := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // RFC 9110 lets lists have empty elements
		}
		from, to, ok := parseRange(spec, size)
		if n++; !ok || n > maxRanges {
			return ""
		}
		if from < to {
			inside = append(inside, fmt.Sprintf("%d-%d", from, to-1))
		}
	}
	switch {
	case n == 0:
		return ""
	case len(inside) == 0:
		return outside
	}
	return "bytes=" + strings.Join(inside, ",")
}

// parseRange returns where an element of a Range header begins and ends in a
// content of size bytes: at the same place if it has none of them. ok is false
// if the element is not valid.
func parseRange(spec string, size int64) (from, to int64, ok bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok || first+last == "" || strings.Trim(first+last, "0123456789") != "" {
		return 0, 0, false
	}
	a, z := parseDigits(first), parseDigits(last)
	switch {
	case first == "":
		return max(0, size-z), size, true
	case last == "":
		return a, size, true
	case compareDigits(last, first) < 0:
		return 0, 0, false
	case a >= size:
		return size, size, true
	}
	return a, min(z, size-1) + 1, true
}

// parseDigits returns a number of any length, at most math.MaxInt64.
func parseDigits(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && text != "" {
		return math.MaxInt64
	}
	return n
}

// compareDigits compares numbers of any length.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
