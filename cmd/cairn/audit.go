package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// actAsUser returns a context whose changes are those of whoever gave the command.
func actAsUser(ctx context.Context) context.Context {
	name := fmt.Sprint("uid ", os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return access.ActAs(ctx, "command line", name)
}

// An auditLog is where the audit of a store goes: --audit-log, or server.audit.file of
// alyx.yml. It is nil where there is none.
type auditLog struct {
	*buckets.Audit
	place string
	file  *local.AuditFile // nil for standard error
}

// openAudit opens the audit of a configuration, or of the flag if that is given.
func (t *target) openAudit(c *schema.Config) (*auditLog, error) {
	if c == nil {
		c = &schema.Config{}
	}
	place := cmp.Or(t.auditFile, c.Server.Audit.File)
	if place == "" {
		return nil, nil
	}
	a := &auditLog{Audit: &buckets.Audit{Names: c.Server.Audit.Names || t.auditNames}, place: place}
	if place == "-" {
		a.Write = func(lines []byte) error { return writeAll(t.stderr, lines) }
		return a, nil
	}
	var err error
	if a.file, err = local.NewAuditFile(place); err != nil {
		return nil, fmt.Errorf("%w; correct --audit-log, or server.audit.file in --config", err)
	}
	a.Write = a.file.Write
	return a, nil
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// reopen lets the next line go to the file that has the name by then.
func (a *auditLog) reopen() {
	if a != nil && a.file != nil {
		a.file.Reopen()
	}
}
