package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// printable leaves no character that drives a terminal, breaks a line or turns text,
// and JSON has none either and means the same.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"a b/é 文 😀": "a b/é 文 😀", `C:\x`: `C:\x`, "": "",
		"\x1b[2J": `\x1b[2J`, "\a\b\r\n\t\x00\x7f": `\a\b\r\n\t\x00\x7f`, "\u009b31m": `\u009b31m`, "\x9b31m\xff": `\x9b31m\xff`,
		"\u202egpj\u202c": `\u202egpj\u202c`, "\u2066x\u2069": `\u2066x\u2069`, "\u2028\u2029\ufeff": `\u2028\u2029\ufeff`, "\U000e0001": `\U000e0001`,
	} {
		if got := printable(s); got != want || printable(got) != got {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
		var out bytes.Buffer
		if err := writeJSON(&out, map[string]string{"name": s}, true); err != nil {
			t.Fatal(err)
		}
		for _, r := range bytes.ReplaceAll(out.Bytes(), []byte("\n"), nil) {
			if r < 0x20 {
				t.Errorf("%q as JSON: %q", s, &out)
			}
		}
		text := string(bytes.ReplaceAll(out.Bytes(), []byte("\n"), nil))
		if printable(text) != text {
			t.Errorf("%q as JSON: %q", s, text)
		}
		plain, _ := json.Marshal(map[string]string{"name": s})
		var got, same map[string]string
		if err := errors.Join(json.Unmarshal(out.Bytes(), &got), json.Unmarshal(plain, &same)); err != nil || got["name"] != same["name"] {
			t.Errorf("%q came back from JSON as %q: %v", s, got["name"], err)
		}
	}
	type word string
	var out bytes.Buffer
	printf(&out, "%s %v %s %d\n", "a\n", errors.New("\x1b"), word("\a"), 7)
	if got, want := out.String(), `a\n \x1b \a 7`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each error that was joined has its line; with --json they are one object, with the
// code of a server.
func TestWriteFailure(t *testing.T) {
	refusal := &client.Error{Status: 404, Code: "not-found", Detail: "no such file"}
	for _, c := range []struct {
		err        error
		text, json string
	}{
		{errors.New("bad\x1b\nname"), "cairn: bad\\x1b\\nname\n", `{"error":"bad\u001b\nname"}`},
		{errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("three"))), "cairn: one\ncairn: two\ncairn: three\n", `{"error":"one\ntwo\nthree"}`},
		{fmt.Errorf("get %w: %w", fs.ErrClosed, fs.ErrExist), "cairn: get file already closed: file already exists\n", `{"error":"get file already closed: file already exists"}`},
		{fmt.Errorf("demo/a: %w", refusal), "cairn: demo/a: " + refusal.Error() + "\n", `{"error":"demo/a: ` + refusal.Error() + `","code":"not-found"}`},
	} {
		var text, asJSON bytes.Buffer
		writeFailure(&text, c.err, false)
		writeFailure(&asJSON, c.err, true)
		if text.String() != c.text || asJSON.String() != c.json+"\n" {
			t.Errorf("%q\n%s, want %q\n%s", &text, &asJSON, c.text, c.json)
		}
	}
}
