package links_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// TestTokensInAnyOrder confirms and cancels holds in random orders, many times each. What
// was confirmed at any time stands, unless a hold that was prepared after its Confirm
// replaces it.
func TestTokensInAnyOrder(t *testing.T) {
	race.LeaveOut(t)
	f := newFixture(t)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		record := fmt.Sprint(seed)
		file := f.put("f" + record)
		type hold struct {
			*links.Hold
			confirmed bool
		}
		var holds []*hold
		for range 4 {
			holds = append(holds, &hold{Hold: f.prepare(record, "f_keep", file.ID)})
		}
		for range 20 {
			h := holds[rng.IntN(len(holds))]
			if rng.IntN(2) == 0 {
				f.fail(f.host.Cancel(t.Context(), h.Token))
			} else {
				f.fail(f.host.Confirm(t.Context(), h.Token))
				h.confirmed = true
			}
		}
		want := 0
		for _, h := range holds {
			f.fail(f.host.Cancel(t.Context(), h.Token))
			if h.confirmed {
				want++
			}
		}
		if got := f.standing(file.ID); got != want {
			t.Errorf("seed %d: %d links stand, want %d", seed, got, want)
		}
		last := f.prepare(record, "f_keep") // it replaces them all
		for range 2 {
			f.fail(f.host.Confirm(t.Context(), last.Token))
			for _, h := range holds {
				if h.confirmed {
					f.fail(f.host.Confirm(t.Context(), h.Token)) // what was released stays so
				}
				f.fail(f.host.Cancel(t.Context(), h.Token))
			}
		}
		if got := f.standing(file.ID); got != 0 {
			t.Errorf("seed %d: %d links stand after all were replaced", seed, got)
		}
	}
}

// TestLostLinks confirms holds whose links cannot be made good, and names the links.
func TestLostLinks(t *testing.T) {
	f := newFixture(t)
	gone, there := f.put("gone"), f.put("there")
	purged := f.prepare("1", "many", gone.ID, there.ID)
	f.fail(f.b.Purge(t.Context(), gone.ID, nil))
	err := f.host.Confirm(t.Context(), purged.Token)
	var lost *links.LostError
	if !errors.As(err, &lost) || len(lost.Links) != 1 || !errors.Is(err, links.ErrLinkLost) {
		t.Errorf("one file of two was purged: %v", err)
	}
	if got := f.standing(there.ID); got != 1 {
		t.Errorf("the other has %d links", got)
	}
	swept := f.prepare("2", "f_keep", there.ID)
	f.fail(f.host.Cancel(t.Context(), swept.Token))
	f.fail(f.host.Confirm(t.Context(), swept.Token)) // it is let go, and comes back
	f.fail(f.host.Cancel(t.Context(), swept.Token))
	if got := f.standing(there.ID); got != 2 {
		t.Errorf("a Cancel has undone a Confirm: %d links", got)
	}
	forgotten := f.prepare("3", "f_keep", there.ID)
	f.fail(f.host.Cancel(t.Context(), forgotten.Token))
	f.month()
	if err := f.host.Confirm(t.Context(), forgotten.Token); !errors.Is(err, links.ErrLinkLost) {
		t.Errorf("a link whose row was swept: %v", err)
	}
}

// TestForeignTokens gives a host tokens that it has not made.
func TestForeignTokens(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	of := f.host
	hold := f.prepare("1", "restrict", file.ID)
	f.keep = &memory{}
	f.openHost(&links.Options{Name: "second", Fields: fields()})
	encode := func(text string) string { return "t1." + base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for _, token := range []string{hold.Token, "", "t1", "t2." + hold.Token[3:], hold.Token[:len(hold.Token)-3], "t1.!", encode("[]"),
		encode(`{"a":["f_x"]}`), encode(`{"a":[1]}`), encode(`{"r":[""]}`), encode(`{"a":["` + file.ID + `"]}`)} {
		if err := f.host.Confirm(t.Context(), token); !errors.Is(err, links.ErrToken) {
			t.Errorf("confirm %q: %v", token, err)
		}
		if err := f.host.Cancel(t.Context(), token); !errors.Is(err, links.ErrToken) {
			t.Errorf("cancel %q: %v", token, err)
		}
	}
	absent := encode(`{"a":["` + string(manifest.NewLinkID()) + `"]}`)
	if err := f.host.Confirm(t.Context(), absent); !errors.Is(err, links.ErrLinkLost) {
		t.Errorf("confirm a link that nobody knows: %v", err)
	}
	f.fail(f.host.Cancel(t.Context(), absent))
	f.fail(of.Confirm(t.Context(), hold.Token))
}

// FuzzToken gives a host any text as a token. It is refused, or names links that do not
// exist; nothing else comes of it.
func FuzzToken(f *testing.F) {
	fix := newFixtureIn(f, openLocal)
	file := fix.put("a")
	fix.set("1", "restrict", file.ID)
	hold := fix.prepare("2", "keep", file.ID)
	f.Add(hold.Token)
	f.Add("t1.e30")
	f.Add("t1." + base64.RawURLEncoding.EncodeToString([]byte(`{"s":1,"a":["`+string(manifest.NewLinkID())+`"]}`)))
	fix.keep = &memory{}
	fix.openHost(&links.Options{Name: "second", Fields: fields()})
	f.Fuzz(func(t *testing.T, token string) {
		err := fix.host.Confirm(t.Context(), token)
		if err != nil && !errors.Is(err, links.ErrToken) && !errors.Is(err, links.ErrLinkLost) {
			t.Errorf("confirm %q: %v", token, err)
		}
		if err := fix.host.Cancel(t.Context(), token); err != nil && !errors.Is(err, links.ErrToken) {
			t.Errorf("cancel %q: %v", token, err)
		}
		if ls, _, err := fix.b.References(t.Context(), file.ID, "", 10); err != nil || len(ls) != 2 {
			t.Fatalf("%q: %d links stand, %v", token, len(ls), err)
		}
	})
}
