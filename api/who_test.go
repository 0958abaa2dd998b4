package api_test

import (
	"net/http/httptest"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/access"
)

// A program that calls the server itself may name the sender of a request.
func TestWithPrincipal(t *testing.T) {
	srv := api.New(newWorld(t).store, nil)
	for want, who := range map[int]*access.Principal{403: {ID: "ann"}, 200: {Operator: true}} {
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, api.WithPrincipal(httptest.NewRequest("GET", "/api/admin/keys", nil), who))
		if rec.Code != want {
			t.Errorf("keys for %+v: status %d, want %d: %s", who, rec.Code, want, rec.Body)
		}
	}
}
