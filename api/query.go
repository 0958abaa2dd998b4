package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// checkQuery refuses a query that is not well-formed: url.URL.Query drops what
// it cannot read, and with it what the sender asked for.
func checkQuery(r *http.Request) error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return fmt.Errorf("query: %w: %w", errRequest, err)
	}
	return nil
}

// A query reads the parameters that a route knows. The first one that it does
// not understand is err, for the handler to return: without it the answer
// would be about more, or other, files than were meant. What nobody reads is
// accepted.
type query struct {
	values url.Values
	err    error
}

func queryOf(r *http.Request) *query { return &query{values: r.URL.Query()} }

// refuse notes that a parameter is not understood, and what to send.
func (q *query) refuse(name, want string) {
	if q.err == nil {
		q.err = fmt.Errorf("%s %.80q: %s: %w", name, q.values.Get(name), want, errRequest)
	}
}

// readText returns a parameter, "" without it.
func (q *query) readText(name string) string {
	if n := len(q.values[name]); n > 1 {
		q.refuse(name, fmt.Sprintf("send it once, not %d times", n))
	}
	return q.values.Get(name)
}

// readFlag reads true or false, false without the parameter.
func (q *query) readFlag(name string) bool {
	return q.readChoice(name, "true", "false") == "true"
}

// readChoice reads one of words, "" without the parameter.
func (q *query) readChoice(name string, words ...string) string {
	word := q.readText(name)
	if q.values.Has(name) && !slices.Contains(words, word) {
		or := len(words) - 1
		q.refuse(name, "use "+strings.TrimPrefix(strings.Join(words[:or], ", ")+" or "+words[or], " or "))
	}
	return word
}

// readNumber reads a number from least to most, fallback without the
// parameter.
func (q *query) readNumber(name string, fallback, least, most uint64) uint64 {
	text := q.readText(name)
	if !q.values.Has(name) {
		return fallback
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		q.refuse(name, fmt.Sprintf("use a number from %d to %d", least, most))
	}
	return n
}

// routeByOnePath has next see every path in one spelling: RFC 3986 makes
// "f%5F" and "f_" the same URL, and routes compare paths byte by byte.
func routeByOnePath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.URL.EscapedPath()
		if path := respellPath(given); path != given {
			again, u := *r, *r.URL
			u.RawPath = path
			again.URL, r = &u, &again
		}
		next.ServeHTTP(w, r)
	})
}

// respellPath returns an escaped path in which each element is escaped where it
// must be, and nowhere else.
func respellPath(escaped string) string {
	elements := strings.Split(escaped, "/")
	for i, e := range elements {
		plain, err := url.PathUnescape(e)
		if err != nil {
			return escaped // net/http has refused those already
		}
		elements[i] = url.PathEscape(plain)
	}
	return strings.Join(elements, "/")
}
