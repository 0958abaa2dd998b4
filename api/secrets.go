package api

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// secret is what lets whoever knows it do something: an API key, a JSON Web Token,
// the token of a signed URL, the ID of an upload. Its first group may be shown: it
// tells which one it is, and opens nothing.
var secret = regexp.MustCompile(`(cairn_(?:[0-9a-f]{16})?)_?[0-9a-fA-F]{8,}` +
	`|(eyJ)[\w-]*(?:\.[\w-]*)+` +
	`|(g_[0-9a-v]{36})\.[\w.-]+` +
	`|(u_[0-9a-v]{14})[0-9a-v]{22}`)

// HideSecrets returns text with all in it that looks like a secret cut short.
func HideSecrets(text string) string {
	if !strings.Contains(text, "_") && !strings.Contains(text, "eyJ") {
		return text
	}
	return secret.ReplaceAllString(text, "$1$2$3$4…")
}

// A SecretsHandler hands records on to another handler with all secrets in them
// cut short, wherever they come from: paths, errors, what a client has sent.
type SecretsHandler struct{ slog.Handler }

// hideSecrets puts a SecretsHandler before h, unless h is one.
func hideSecrets(h slog.Handler) slog.Handler {
	if _, ok := h.(SecretsHandler); ok {
		return h
	}
	return SecretsHandler{h}
}

// Handle implements slog.Handler, and so do the methods below.
func (h SecretsHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, HideSecrets(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(hideIn(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

func (h SecretsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.Clone(attrs)
	for i := range attrs {
		attrs[i] = hideIn(attrs[i])
	}
	return SecretsHandler{h.Handler.WithAttrs(attrs)}
}

func (h SecretsHandler) WithGroup(name string) slog.Handler {
	return SecretsHandler{h.Handler.WithGroup(name)}
}

func hideIn(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(HideSecrets(v.String()))
	case slog.KindAny: // errors, and what else is printed as text
		if text := v.String(); HideSecrets(text) != text {
			a.Value = slog.StringValue(HideSecrets(text))
		}
	case slog.KindGroup:
		attrs := slices.Clone(v.Group())
		for i := range attrs {
			attrs[i] = hideIn(attrs[i])
		}
		a.Value = slog.GroupValue(attrs...)
	}
	return a
}
