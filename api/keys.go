package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/manifest"
)

// KeyView returns an API key as clients see it.
func KeyView(k *manifest.APIKey, token string) client.Key {
	v := client.Key{ID: k.ID, Name: k.Name, Buckets: k.Buckets, Operations: k.Ops, Operator: k.Operator,
		CreatedAt: client.Time{Time: k.CreatedAt}, Token: token}
	if !k.ExpiresAt.IsZero() {
		v.ExpiresAt = &client.Time{Time: k.ExpiresAt}
	}
	return v
}

// listKeys lists the API keys, without their secrets.
func (s *Server) listKeys(w http.ResponseWriter, r *http.Request) error {
	ks, err := s.store.Keys().List(r.Context())
	if err != nil {
		return err
	}
	out := []client.Key{}
	for _, k := range ks {
		out = append(out, KeyView(k, ""))
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
	k := manifest.APIKey{Name: in.Name, Buckets: in.Buckets, Ops: in.Operations, Operator: in.Operator}
	token, made, err := s.store.Keys().New(r.Context(), k, time.Duration(in.ExpiresIn))
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return writeJSON(w, http.StatusCreated, KeyView(made, token))
}

// dropKey revokes an API key.
func (s *Server) dropKey(w http.ResponseWriter, r *http.Request) error {
	return noContent(w, s.store.Keys().Drop(r.Context(), mux.Vars(r)["key"]))
}

// rotateSigningKey makes a new key for signing URLs. With drop_old it deletes
// the older keys, so that URLs signed with them stop working.
func (s *Server) rotateSigningKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		DropOld bool `json:"drop_old"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	id, err := s.store.Keys().RotateSigning(r.Context(), in.DropOld)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"key": id})
}
