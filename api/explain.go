package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
)

// explainAccess answers whether a principal may do something, and which rule
// decides.
func (s *Server) explainAccess(w http.ResponseWriter, r *http.Request) error {
	var in client.Question
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if !slices.Contains(access.Ops(), access.Op(in.Operation)) {
		return fmt.Errorf("operation %.80q: use create, read, update, delete, download, list or trash: %w", in.Operation, errRequest)
	}
	claims, err := json.Marshal(in.Auth)
	if err != nil {
		return err
	}
	if err := rules.CheckNesting(claims); err != nil {
		return fmt.Errorf("auth is %w: %w", err, errRequest)
	}
	id, _ := in.Auth["id"].(string)
	who := &access.Principal{ID: id, Claims: in.Auth, Request: rules.Request{Method: r.Method, IP: ClientIP(r), Protocol: "rest"}}
	d, err := s.store.Explain(r.Context(), in.Bucket, access.Op(in.Operation), in.ID, who, ruleUpload(in.Upload))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DecisionView(d))
}

func ruleUpload(u *client.QuestionUpload) *rules.Upload {
	if u == nil {
		return &rules.Upload{}
	}
	name, folder := names.CanonicalPath(u.Name), names.CanonicalPath(u.Folder)
	return &rules.Upload{Name: name, Folder: folder, Path: names.Join(folder, name), Size: u.Size, MIMEType: u.MIMEType}
}

// DecisionView returns a decision as clients see it.
func DecisionView(d *access.Decision) *client.Decision {
	v := &client.Decision{Allowed: d.Err == nil, Operation: string(d.Op), Bucket: d.Bucket, ID: d.File, By: d.By, RuleOf: string(d.RuleOp), Rule: d.Rule}
	if d.Err != nil {
		v.Reason = d.Err.Error()
	}
	return v
}
