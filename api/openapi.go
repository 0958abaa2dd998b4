package api

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPIText []byte // never changed

// openAPI returns the description of the API as JSON, of a server below a path.
func openAPI(path string) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPIText, &doc); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	doc["servers"] = []any{map[string]any{"url": cmp.Or(path, "/")}}
	return json.Marshal(doc)
}

// serveOpenAPI answers with the description of the API.
func serveOpenAPI(w http.ResponseWriter, r *http.Request) error {
	text, err := openAPI(mountOf(r).path)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Write(text) // a client that is gone needs no answer
	return nil
}
