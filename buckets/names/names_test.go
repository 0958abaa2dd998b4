package names

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// verdicts says of kinds of names whether a file may have them; refused is a part
// of what is told to users, "" if it may. A line more is a case more.
var verdicts = []struct{ what, name, refused string }{
	{"ASCII", "report (2).pdf", ""},
	{"signs that shells or Windows take for others", `a:b*c?d"e<f>g|h'$&;#%{}~`, ""},
	{"slash", "a/b", "slash"},
	{"backslash", `a\b`, "slash"},
	{"signs that look like a slash", "a\u2044b\u2215c\uff0fd", ""},
	{"empty", "", "empty"},
	{"dot", ".", "not a name"},
	{"dots", "..", "not a name"},
	{"three dots", "...", ""},
	{"hidden file", ".profile", ""},
	{"dot at the end", "a.", ""},
	{"space at the end", "a ", ""},
	{"space in front", " a", ""},
	{"spaces", "a b\u00a0c\u3000d", ""},
	{"name that Windows reserves", "CON", ""},
	{"name that Windows reserves, with an extension", "nul.txt", ""},
	{"255 bytes", strings.Repeat("a", 255), ""},
	{"256 bytes", strings.Repeat("a", 256), "longer than 255 bytes"},
	{"255 bytes, 85 characters", strings.Repeat("語", 85), ""},
	{"258 bytes, 86 characters", strings.Repeat("語", 86), "longer than 255 bytes"},
	{"252 bytes, 126 units of UTF-16", strings.Repeat("😀", 63), ""},
	{"longer before it is composed", strings.Repeat("e\u0301", 127), ""},
	{"longer when it is composed", strings.Repeat("\ufb1d", 85), "longer than 255 bytes"}, // U+FB1D becomes two

	{"NUL", "a\x00b", "control character"},
	{"tab", "a\tb", "control character"},
	{"line feed", "a\nb", "control character"},
	{"carriage return", "a\rb", "control character"},
	{"bell", "a\ab", "control character"},
	{"escape", "a\x1b[31mb", "control character"},
	{"delete", "a\x7fb", "control character"},
	{"next line, of C1", "a\u0085b", "control character"},
	{"control sequence, of C1", "a\u009b31m", "control character"},

	{"embedding, left to right", "a\u202ab", "direction"},
	{"embedding, right to left", "a\u202bb", "direction"},
	{"end of an embedding", "a\u202cb", "direction"},
	{"override, left to right", "a\u202db", "direction"},
	{"override, right to left", "photo\u202egpj.exe", "direction"},
	{"isolate, left to right", "a\u2066b", "direction"},
	{"isolate, right to left", "a\u2067b", "direction"},
	{"isolate, by the first letter", "a\u2068b", "direction"},
	{"end of an isolate", "a\u2069b", "direction"},
	{"left-to-right mark", "\u200einvoice 12.pdf", ""},
	{"right-to-left mark", "דוח 2024\u200f.pdf", ""},
	{"Arabic letter mark", "تقرير\u061c 12.pdf", ""},
	{"mark between Latin letters", "a\u200eb", "mark of direction"},
	{"mark before the extension of a Latin name", "jpg\u200f.exe", "mark of direction"},
	{"Arabic mark between Latin letters and digits", "a1\u061c2b", "mark of direction"},
	{"mark between Latin words of a Hebrew name", "דוח.pdf\u200f.exe", "mark of direction"},
	{"mark between Hebrew and Latin", "דוח\u200f.pdf", ""},
	{"mark between Latin and Hebrew", "pdf\u200e דוח", ""},
	{"mark between Hebrew and digits", "דוח\u200e 12", ""},
	{"marks between Arabic words", "تقرير\u200f \u200eمالي.pdf", ""},
	{"mark at the end", "report\u200e", ""},
	{"right-to-left mark in front", "\u200freport.pdf", ""},
	{"mark beside digits alone", "1\u200e2", ""},
	{"Hebrew", "שלום.txt", ""},
	{"Hebrew with points", "שָׁלוֹם.txt", ""},
	{"Arabic", "مرحبا بالعالم.txt", ""},
	{"Arabic number sign", "\u0600١٢.txt", ""},
	{"Persian with a non-joiner", "می\u200cخواهم.txt", ""},
	{"Hindi with a joiner", "क्\u200dष.txt", ""},
	{"family, joined", "👨\u200d👩\u200d👧.png", ""},
	{"heart in colour", "❤\ufe0f.png", ""},
	{"keycap", "1\ufe0f\u20e3.png", ""},
	{"skin tone", "👍🏽.png", ""},
	{"flag of a country", "🇩🇪.png", ""},
	{"flag of Wales", "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f.png", ""},
	{"tags without a flag", "a\U000e0067\U000e0062\U000e007f", "hidden text"},
	{"tags behind a flag and a letter", "\U0001f3f4a\U000e0067", "hidden text"},
	{"language tag", "a\U000e0001b", "cannot be seen"},
	{"Han variant", "葛\U000e0100飾.txt", ""},
	{"Thai with breaks", "ภาษา\u200bไทย.txt", ""},
	{"soft hyphen", "a\u00adb", ""},
	{"word joiner", "a\u2060b", ""},
	{"Hangul", "한글.txt", ""},
	{"Hangul in parts", "\u1112\u1161\u11ab.txt", ""},
	{"Japanese", "ファイル.txt", ""},
	{"German in parts", "u\u0308ber.txt", ""},
	{"many marks on a letter", "z" + strings.Repeat("\u0335", 60), ""},

	{"line separator", "a\u2028b", "separator of lines"},
	{"paragraph separator", "a\u2029b", "separator of lines"},
	{"byte order mark in front", "\ufeffa.txt", "byte order mark"},
	{"byte order mark inside", "a\ufeffb", "byte order mark"},
	{"replacement character", "a\ufffdb", "damaged text"},
	{"annotation", "a\ufff9b\ufffac\ufffb", "cannot be seen"},
	{"old format character", "a\u206ab", "cannot be seen"},
	{"no character", "a\uffffb", ""},
	{"no character, another", "a\ufdd0b", ""},
	{"no character of a later plane", "a\U0001fffeb", ""},
	{"private use: a colon on a Mac's share", "a\uf022b", ""},
	{"private use: Apple's logo", "\uf8ff.txt", ""},
	{"private use of a later plane", "\U000f0000.txt", ""},
	{"not assigned yet", "\u0378.txt", ""},
	{"surrogate", "a\xed\xa0\x80b", "UTF-8"},
	{"byte that is no UTF-8", "a\xffb", "UTF-8"},
	{"character cut short", "a\xe8\xaa", "UTF-8"},
	{"overlong slash", "a\xc0\xafb", "UTF-8"},

	{"mark alone", "\u200e", "nothing that can be seen"},
	{"joiners alone", "\u200d\u200c", "nothing that can be seen"},
	{"variation selector alone", "\ufe0f", "nothing that can be seen"},
	{"dots with a mark between", ".\u200e.", "nothing that can be seen"},
	{"dot behind a joiner", "\u200d.", "nothing that can be seen"},
	{"Hangul filler alone", "\u3164", "nothing that can be seen"},
	{"dot and letter with a mark", ".\u200ea", ""},
}

func TestVerdicts(t *testing.T) {
	for _, c := range verdicts {
		for form, name := range map[string]string{"NFC": norm.NFC.String(c.name), "NFD": norm.NFD.String(c.name), "as it is": c.name} {
			got, err := Clean(name)
			switch {
			case c.refused == "" && (err != nil || got != norm.NFC.String(c.name)):
				t.Errorf("%s, %s: %q, %v", c.what, form, got, err)
			case c.refused != "" && (!errors.Is(err, ErrName) || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("%s, %s: %q, %v, want %q", c.what, form, got, err, c.refused)
			}
			if strings.Contains(name, "/") || name == "" {
				continue
			}
			// A folder is made of names.
			if _, err := CleanFolder("a/" + name + "/b"); (err == nil) != (c.refused == "") {
				t.Errorf("%s, %s, as a folder: %v", c.what, form, err)
			}
			if c.refused == "" && (Strip(name) != name || Escape(name) != name) {
				t.Errorf("%s, %s: stripped %q, escaped %q", c.what, form, Strip(name), Escape(name))
			}
		}
	}
}

// Every class has a reason, and decides about characters that no class before it
// does.
func TestClasses(t *testing.T) {
	decides := make([]int, len(classes))
	for r := rune(0); r <= unicode.MaxRune; r++ {
		for i := range classes {
			if unicode.Is(classes[i].chars, r) {
				decides[i]++
				break
			}
		}
	}
	for i, c := range classes {
		if c.reason == "" || decides[i] == 0 {
			t.Errorf("class %d: %d characters, reason %q", i, decides[i], c.reason)
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if why := badChar(r, false); why == "" && (unicode.IsControl(r) ||
			unicode.Is(unicode.Bidi_Control, r) && !slices.Contains([]rune{0x61c, 0x200e, 0x200f}, r)) {
			t.Errorf("%U is taken", r)
		} else if why != "" && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)) {
			t.Errorf("%U is refused: %s", r, why)
		}
	}
}

// What is shown of names drives no terminal, and what is sent of them is what
// names may hold.
func TestStripAndEscape(t *testing.T) {
	for s, want := range map[string][2]string{
		"a/b\\c":                         {"abc", "a/b\\c"},
		"a\x1b[31mb\nc":                  {"a[31mbc", `a\x1b[31mb\nc`},
		"photo\u202egpj.exe":             {"photogpj.exe", `photo\u202egpj.exe`},
		"\ufeffa\u2028":                  {"a", `\ufeffa\u2028`},
		"a\xffb":                         {"ab", `a\ufffdb`},
		"a\U000e0067":                    {"a", `a\U000e0067`},
		"\u200fשלום":                     {"\u200fשלום", "\u200fשלום"},
		"\U0001f3f4\U000e0067\U000e007f": {"\U0001f3f4\U000e0067\U000e007f", "\U0001f3f4\U000e0067\U000e007f"},
	} {
		if got := [2]string{Strip(s), Escape(s)}; got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// A cleaned name stays as it is, and so does one with a number.
func TestCleanIsStable(t *testing.T) {
	for _, c := range verdicts {
		name, err := Clean(c.name)
		if err != nil {
			continue
		}
		if again, err := Clean(name); again != name || err != nil {
			t.Errorf("%s: %q, then %q, %v", c.what, name, again, err)
		}
		if CanonicalPath("x/"+c.name) != "x/"+name {
			t.Errorf("%s: %q is looked for as %q", c.what, name, CanonicalPath("x/"+c.name))
		}
		for _, n := range []int{2, 100_000} {
			if got := Numbered(name, n); !strings.Contains(got, fmt.Sprintf("(%d)", n)) {
				t.Errorf("%s: %q", c.what, got)
			} else if clean, err := Clean(got); clean != got || err != nil {
				t.Errorf("%s: %q numbered is %q, cleaned %q, %v", c.what, name, got, clean, err)
			}
		}
	}
}
