package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// maxTokens is how many tokens are confirmed or cancelled at once.
const maxTokens = 1000

// prepareLinks checks the values that records are about to get, and makes links that
// hold from now on.
func (s *Server) prepareLinks(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		As      json.RawMessage `json:"as"`
		Changes []links.Change  `json:"changes"`
	}
	if err := readHost(r, &in); err != nil {
		return err
	}
	who, err := readPrincipal(r, in.As)
	if err != nil {
		return err
	}
	hold, err := h.Prepare(r.Context(), who, in.Changes...)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, hold)
}

// confirmLinks confirms what was prepared. Links of all tokens that are lost are told
// together.
func confirmLinks(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	return settleTokens(w, r, h.Confirm)
}

// cancelLinks lets go what was prepared.
func cancelLinks(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	return settleTokens(w, r, h.Cancel)
}

func settleTokens(w http.ResponseWriter, r *http.Request, settle func(ctx context.Context, token string) error) error {
	var in struct {
		Tokens []string `json:"tokens"`
	}
	if err := readHost(r, &in); err != nil {
		return err
	}
	if n := len(in.Tokens); n == 0 || n > maxTokens {
		return fmt.Errorf("tokens: %d, want 1 to %d: %w", n, maxTokens, errRequest)
	}
	var lost []manifest.LinkID
	for _, token := range in.Tokens {
		err := settle(r.Context(), token)
		var e *links.LostError
		if errors.As(err, &e) {
			lost = append(lost, e.Links...)
		} else if err != nil {
			return err
		}
	}
	if len(lost) > 0 {
		return &links.LostError{Links: lost}
	}
	return noContent(w, nil)
}

// resolveValues answers what the values of file fields stand for.
func (s *Server) resolveValues(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		As    json.RawMessage `json:"as"`
		Items []struct {
			ID     string          `json:"id"`
			Record json.RawMessage `json:"record"`
		} `json:"items"`
	}
	if err := readHost(r, &in); err != nil {
		return err
	}
	who, err := readPrincipal(r, in.As)
	if err != nil {
		return err
	}
	items := make([]links.Item, len(in.Items))
	for i := range in.Items {
		items[i].ID = in.Items[i].ID
		record := in.Items[i].Record
		if len(record) == 0 {
			continue
		}
		err := rules.CheckNesting(record)
		if err == nil {
			err = json.Unmarshal(record, &items[i].Record)
		}
		if err != nil {
			return fmt.Errorf("record of item %d: %w: %w", i, err, errRequest)
		}
	}
	found, err := h.Resolve(r.Context(), who, items)
	if err != nil {
		return err
	}
	out := make([]client.Resolved, len(found))
	for i := range found {
		out[i] = client.Resolved{ID: found[i].ID, Status: string(found[i].Status)}
		if found[i].File != nil {
			out[i].File = mountOf(r).view(found[i].File, who == nil)
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": out})
}
