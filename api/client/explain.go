package client

import (
	"context"
	"net/http"
)

// A Question asks whether somebody may do something.
type Question struct {
	Bucket    string          `json:"bucket"`
	Operation string          `json:"operation"`        // create, read, update, delete, download, list, trash
	ID        string          `json:"id,omitempty"`     // of the file or version
	Auth      map[string]any  `json:"auth,omitempty"`   // claims of the principal, "id" among them
	Upload    *QuestionUpload `json:"upload,omitempty"` // of create and update
}

// A QuestionUpload describes the file of an upload.
type QuestionUpload struct {
	Name     string `json:"name"`
	Folder   string `json:"folder"`
	Size     int64  `json:"size"`
	MIMEType string `json:"mime_type"`
}

// A Decision is the answer to a Question, with the rule that decided.
type Decision struct {
	Allowed   bool   `json:"allowed"`
	Operation string `json:"operation"`
	Bucket    string `json:"bucket"`
	ID        string `json:"id,omitempty"`
	By        string `json:"by"`                // "bucket rule", "file rule", "no rule", "disabled", …
	RuleOf    string `json:"rule_of,omitempty"` // operation whose rule it is
	Rule      string `json:"rule,omitempty"`
	Reason    string `json:"reason,omitempty"` // why not
}

// Explain answers a Question, for operators.
func (c *Client) Explain(ctx context.Context, q *Question) (*Decision, error) {
	r := &request{method: http.MethodPost, admin: true, path: []string{"explain"}}
	d := new(Decision)
	return d, c.callJSON(ctx, r.withJSON(q), d)
}
