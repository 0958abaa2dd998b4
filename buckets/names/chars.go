package names

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/bidi"
)

// A charClass is a kind of characters with one verdict on them. classes has all
// that need a word; every other character may be in a name.
type charClass struct {
	chars   *unicode.RangeTable
	refusal string // what is wrong with a name that has them, "" for nothing
	reason  string
}

// classes are tried in order: the first that holds a character decides.
var classes = [...]charClass{
	{tableOf(runes{'/', '/'}, runes{'\\', '\\'}), "contains a slash", "parts a path, here or on Windows"},
	{unicode.Cc, "contains a control character", "breaks lines, drives terminals, ends strings"},
	{tableOf(runes{0x202a, 0x202e}, runes{0x2066, 0x2069}), "contains a mark that changes the direction of text",
		"makes gpj.exe look like exe.jpg: its effect reaches as far as it likes, beyond the name too"},
	{directionMarks, "", "stands in Hebrew and Arabic names, as an unseen letter of its direction: see splitsLatin"},
	{tableOf(runes{0x200c, 0x200d}), "", "joins letters of Persian and Indic words, and emoji, or keeps them apart"},
	{tableOf(runes{0x2028, 0x2029}), "contains a separator of lines", "ends a line for JavaScript and some editors"},
	{tableOf(runes{0xfeff, 0xfeff}), "contains a byte order mark", "is left over from a text file, and cannot be seen"},
	{tableOf(runes{0xfffd, 0xfffd}), "contains a character that stands for damaged text", "the name has been decoded wrongly"},
	{tableOf(runes{0x206a, 0x206f}, runes{0xfff9, 0xfffb}, runes{0xe0001, 0xe0001}), "contains a character that cannot be seen",
		"has no use any more, or none in a name"},
	{flagTags, "contains hidden text", "is text that nobody sees; behind a black flag it makes that of England or Wales"},
	{unicode.Noncharacter_Code_Point, "", "is no character and never will be, but valid UTF-8, and file systems keep it"},
	{unicode.Co, "", "means what a font says: file systems keep : and * of names in it, and Apple its logo"},
	{tableOf(runes{0xfe00, 0xfe0f}, runes{0xe0100, 0xe01ef}), "", "chooses the form of emoji and of Han characters in names of people"},
	{unicode.Cf, "", "cannot be seen but by what is beside it, and turns nothing: soft hyphens, breaks of Thai words"},
}

// blackFlag begins the flags of parts of a country, which flagTags spell.
const blackFlag = '\U0001f3f4'

var (
	flagTags       = tableOf(runes{0xe0020, 0xe007f})
	directionMarks = tableOf(runes{0x061c, 0x061c}, runes{0x200e, 0x200f})
)

type runes struct{ first, last rune }

// tableOf returns a table of ranges, which come in order.
func tableOf(ranges ...runes) *unicode.RangeTable {
	t := &unicode.RangeTable{}
	for _, r := range ranges {
		t.R32 = append(t.R32, unicode.Range32{Lo: uint32(r.first), Hi: uint32(r.last), Stride: 1})
	}
	return t
}

// badChar says what is wrong with a character of a name, or returns "". inFlag
// says that it stands behind a black flag, or such a tag.
func badChar(r rune, inFlag bool) string {
	for i := range classes {
		if c := &classes[i]; unicode.Is(c.chars, r) {
			if c.chars == flagTags && inFlag {
				return ""
			}
			return c.refusal
		}
	}
	return ""
}

// findBadChar says what is wrong with the first character of s that no name may
// hold, or returns "".
func findBadChar(s string) string {
	inFlag := false
	for _, r := range s {
		if why := badChar(r, inFlag); why != "" {
			return why
		}
		inFlag = r == blackFlag || inFlag && unicode.Is(flagTags, r)
	}
	return ""
}

// splitsLatin reports a mark of direction between letters that both run from
// left to right. Elsewhere such a mark is harmless. There it has no use, and where
// text runs from right to left it shows "jpg<mark>.exe" as "exe.jpg".
func splitsLatin(s string) bool {
	latin, marked := false, false // the last letter, and what came since
	for _, r := range s {
		if unicode.Is(directionMarks, r) {
			marked = true
			continue
		}
		p, _ := bidi.LookupString(string(r))
		switch p.Class() {
		case bidi.L:
			if latin && marked {
				return true
			}
			latin, marked = true, false
		case bidi.R, bidi.AL:
			latin, marked = false, false
		}
	}
	return false
}

// Strip returns s without the characters that no name may hold.
func Strip(s string) string { return replaceBad(s, func(rune) string { return "" }) }

// Escape returns a path, or text about one, in which the characters that no name
// may hold are written as in Go: for terminals, which they would drive. Slashes
// stay.
func Escape(s string) string {
	return replaceBad(s, func(r rune) string {
		if r == '/' || r == '\\' {
			return string(r)
		}
		return strings.Trim(strconv.QuoteRuneToASCII(r), "'")
	})
}

func replaceBad(s string, with func(r rune) string) string {
	var out strings.Builder
	inFlag := false
	for _, r := range s {
		if badChar(r, inFlag) != "" {
			out.WriteString(with(r))
		} else {
			out.WriteRune(r)
		}
		inFlag = r == blackFlag || inFlag && unicode.Is(flagTags, r)
	}
	return out.String()
}

// stripUnseen returns s without what is not seen by itself.
func stripUnseen(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, s)
}
