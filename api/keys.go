package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
)

// KeyView is an API key as clients see it.
func KeyView(k *buckets.APIKey, token string) client.Key {
	v := client.Key{ID: k.ID, Name: k.Name, Buckets: k.Buckets, Operator: k.Operator, CreatedAt: client.Time{Time: k.CreatedAt}, Token: token}
	for _, op := range k.Ops {
		v.Operations = append(v.Operations, string(op))
	}
	if !k.ExpiresAt.IsZero() {
		v.ExpiresAt = &client.Time{Time: k.ExpiresAt}
	}
	return v
}

// listKeys lists the API keys, without their secrets.
func (s *Server) listKeys(w http.ResponseWriter, r *http.Request) error {
	ks, err := s.store.Keys(r.Context())
	if err != nil {
		return err
	}
	out := []client.Key{}
	for i := range ks {
		out = append(out, KeyView(&ks[i], ""))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"keys": out})
}

// newKey makes an API key.
func (s *Server) newKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name       string   `json:"name"`
		Buckets    []string `json:"buckets"`
		Operations []string `json:"operations"`
		Operator   bool     `json:"operator"`
		ExpiresIn  lifetime `json:"expires_in"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	k := buckets.APIKey{Name: in.Name, Buckets: in.Buckets, Operator: in.Operator}
	for _, op := range in.Operations {
		k.Ops = append(k.Ops, buckets.Op(op))
	}
	if in.ExpiresIn != 0 {
		k.ExpiresAt = time.Now().Add(time.Duration(in.ExpiresIn))
	}
	token, made, err := s.store.NewKey(r.Context(), k)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return writeJSON(w, http.StatusCreated, KeyView(made, token))
}

// dropKey ends an API key.
func (s *Server) dropKey(w http.ResponseWriter, r *http.Request) error {
	if err := s.store.DropKey(r.Context(), mux.Vars(r)["key"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// rotateSigningKey makes a new key to sign URLs with; with drop_old all URLs
// signed until now end.
func (s *Server) rotateSigningKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		DropOld bool `json:"drop_old"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	id, err := s.store.RotateSigningKey(r.Context(), in.DropOld)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"key": id})
}
