package main

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"sync"

	"github.com/cairn-store/cairn"
	"github.com/cairn-store/cairn/buckets/access"
)

const cookieName = "session"

// sessions knows who is signed in. A real host keeps sessions and passwords, as
// hashes, in its database.
type sessions struct {
	passwords map[string]string // by name

	mu    sync.Mutex
	names map[string]string // by the value of the cookie; guarded by mu
}

func newSessions() *sessions {
	return &sessions{passwords: map[string]string{"ann": "ann's password", "bob": "bob's password"}, names: make(map[string]string)}
}

// Principal says who sends a request, for Cairn.
func (s *sessions) Principal(r *http.Request) (*cairn.Principal, error) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil, nil // nobody is signed in
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.names[c.Value]
	if !ok {
		return nil, access.RefuseCredentials("your session has ended: sign in again")
	}
	return &cairn.Principal{ID: name}, nil
}

func (s *sessions) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	name, given := r.PostFormValue("name"), r.PostFormValue("password")
	password, ok := s.passwords[name]
	if subtle.ConstantTimeCompare([]byte(given), []byte(password)) != 1 || !ok {
		http.Error(w, "name or password is wrong", http.StatusUnauthorized)
		return
	}
	value := rand.Text()
	s.mu.Lock()
	s.names[value] = name
	s.mu.Unlock()
	// Behind TLS with Secure as well.
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.WriteHeader(http.StatusNoContent)
}

func (s *sessions) signOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		delete(s.names, c.Value)
		s.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
	w.WriteHeader(http.StatusNoContent)
}
