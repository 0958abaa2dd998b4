package access

import (
	"context"
	"strings"
)

// An Actor is who has something done, as an audit says it.
type Actor struct {
	// Kind is "user", "key", "signed-url", "anonymous" or "operator" of those who send
	// requests, and of others what ActAs was told; "program" where nothing was said.
	Kind  string `json:"kind"`
	User  string `json:"user,omitempty"`  // ID of a principal; of a signed URL, of its signer
	Key   string `json:"key,omitempty"`   // ID of an API key
	Grant string `json:"grant,omitempty"` // ID of a signed URL
	Name  string `json:"name,omitempty"`  // what ActAs was told

	// Behind is who acts by the actor's name: a host, or an operator who counts as
	// somebody else.
	Behind *Actor `json:"behind,omitempty"`
}

type actorKey struct{}

// ActAs returns a context whose changes are those of something that is no principal:
// a sweeper, a host, whoever has given a command.
func ActAs(ctx context.Context, kind, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, Actor{Kind: kind, Name: name})
}

// ActThrough is ActAs for something that others act through: whoever was the actor
// before is behind it.
func ActThrough(ctx context.Context, kind, name string) context.Context {
	a := Actor{Kind: kind, Name: name}
	if before, known := ctx.Value(actorKey{}).(Actor); known && before.Kind != kind {
		a.Behind = &before
	}
	return context.WithValue(ctx, actorKey{}, a)
}

// ActFor returns a context whose changes are those of p. Whoever was the actor before
// is behind it. nil, the program itself, and an operator without a name leave the actor
// that there is.
func ActFor(ctx context.Context, p *Principal) context.Context {
	before, known := ctx.Value(actorKey{}).(Actor)
	if p == nil || known && p.Operator && p.ID == "" {
		return ctx
	}
	a := actorOf(p)
	switch {
	case !known:
	case a.same(before):
		return ctx
	default:
		a.Behind = &before
	}
	return context.WithValue(ctx, actorKey{}, a)
}

func actorOf(p *Principal) Actor {
	a := Actor{User: p.ID}
	if key, ok := strings.CutPrefix(p.ID, KeyOwner); ok {
		a.User, a.Key = "", key
	}
	switch {
	case p.Grant != nil:
		a.Kind, a.Grant = "signed-url", p.Grant.ID
	case a.Key != "":
		a.Kind = "key"
	case a.User != "":
		a.Kind = "user"
	case p.Operator:
		a.Kind = "operator"
	default:
		a.Kind = "anonymous"
	}
	return a
}

func (a *Actor) same(b Actor) bool {
	return a.Kind == b.Kind && a.User == b.User && a.Key == b.Key && a.Grant == b.Grant
}

// ActorOf returns whose changes those of a context are.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Kind: "program"}
}
