package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func exampleFigure() *Figure {
	days := make([]time.Time, 40)
	logical, stored := make([]float64, 40), make([]float64, 40)
	for i := range days {
		days[i] = time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i)
		logical[i], stored[i] = float64(i)*3e8, float64(i)*2e7+1e8
	}
	return &Figure{Title: "What is stored", Panels: []Panel{
		&Bars{Title: "Buckets", Unit: Unit{Bytes: true}, Labels: []string{"demo", "b<&>", "private/" + strings.Repeat("folder/", 12) + "file"},
			Series: []Series{{"files", []float64{3 << 30, 1 << 20, 0}}, {"trash", []float64{1 << 30, 0, 5 << 29}}}},
		&Bars{Title: "Chunks", Unit: Unit{Name: "chunks"}, Upright: true, LabelAxis: "size of chunks", Labels: []string{"< 4 KiB", "4 KiB", "8 KiB", "16 KiB"},
			Series: []Series{{"chunks", []float64{100, 25000, 123456, 7}}}},
		&Lines{Title: "Over time", Unit: Unit{Bytes: true}, Days: days, Series: []Series{{"logical", logical}, {"stored", stored}}},
	}}
}

// A figure is drawn in both formats, with all its words. CAIRN_PLOTS is a folder to
// look at the pictures in.
func TestWrite(t *testing.T) {
	empty := &Figure{Title: "Nothing", Panels: []Panel{&Bars{Title: "None", Series: []Series{{"a", nil}}}, &Lines{Title: "Never", Series: []Series{{"b", nil}}}}}
	for name, f := range map[string]*Figure{"example": exampleFigure(), "empty": empty} {
		for _, format := range []Format{SVG, PNG} {
			var b bytes.Buffer
			if err := Write(&b, f, format); err != nil {
				t.Fatalf("%s as %s: %v", name, format, err)
			}
			if dir := os.Getenv("CAIRN_PLOTS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+"."+string(format)), b.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if format == PNG {
				if _, err := png.Decode(&b); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			words := textOf(t, b.Bytes())
			want := []string{f.Title}
			for _, p := range f.Panels {
				want = append(want, p.describeFrame().title)
			}
			if name == "example" {
				want = append(want, "demo", "b<&>", "GiB", "thousand chunks", "size of chunks", "2026-01-10", "day (UTC)", "trash", "stored")
			}
			for _, w := range want {
				if !slices.Contains(words, w) {
					t.Errorf("%s lacks %q: %q", name, w, words)
				}
			}
		}
	}
	if err := Write(io.Discard, empty, "gif"); err == nil {
		t.Error("a format that there is not was written")
	}
}

// textOf returns the texts of an SVG, which has to be well-formed.
func textOf(t *testing.T, p []byte) (out []string) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(p)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		if c, ok := tok.(xml.CharData); ok && strings.TrimSpace(string(c)) != "" {
			out = append(out, strings.TrimSpace(string(c)))
		}
	}
}

func TestFormatOf(t *testing.T) {
	for file, want := range map[string]Format{"a.svg": SVG, "/x/b.PNG": PNG, "c.jpg": "", "svg": "", "": "", "d.svg.gz": ""} {
		got, err := FormatOf(file)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", file, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), ".svg or .png") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		unit  Unit
		most  float64
		by    float64
		label string
	}{
		{Unit{Bytes: true}, 1000, 1, "B"}, {Unit{Bytes: true}, 1024, 1024, "KiB"}, {Unit{Bytes: true}, 5 << 40, 1 << 40, "TiB"},
		{Unit{Bytes: true, Name: "saved"}, 1 << 20, 1 << 20, "saved, MiB"}, {Unit{Bytes: true}, math.MaxFloat64, 1 << 50, "PiB"},
		{Unit{Name: "chunks"}, 9999, 1, "chunks"}, {Unit{Name: "chunks"}, 10000, 1000, "thousand chunks"}, {Unit{Name: "chunks"}, 2e7, 1e6, "million chunks"},
	} {
		if by, label := c.unit.scaleUnit(c.most); by != c.by || label != c.label {
			t.Errorf("%+v up to %g: %g, %q", c.unit, c.most, by, label)
		}
	}
	for x, want := range map[float64]float64{0.3: 0.5, 1: 1, 1.2: 2, 4: 5, 51: 100, 0: 1, math.Inf(1): 1, 0.06: 0.1, 0.018: 0.02} {
		if got := roundStep(x); got != want {
			t.Errorf("step of %g: %g, want %g", x, got, want)
		}
	}
}
