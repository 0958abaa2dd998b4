// Package chart draws the figures of reports as SVG or PNG.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Figure is panels under each other.
type Figure struct {
	Title  string
	Panels []Panel
}

// A Panel is Bars or Lines.
type Panel interface {
	describeFrame() *frame
	// axesHeight is that of the part with axes.
	axesHeight() vg.Length
	makePlot() (*plot.Plot, error)
}

// frame is what stands around the axes of a panel.
type frame struct {
	title  string
	series []string // for the legend; one alone has none
}

// A Format is how a figure is written.
type Format string

const (
	SVG Format = "svg"
	PNG Format = "png"
)

// FormatOf returns the format that the name of a file asks for.
func FormatOf(file string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".svg", ".png":
		return Format(ext[1:]), nil
	}
	return "", fmt.Errorf("%q: want a file that ends in .svg or .png", file)
}

const (
	width   = 24 * vg.Centimeter
	margin  = 0.5 * vg.Centimeter
	heading = 0.9 * vg.Centimeter // height of a title
	strip   = 0.6 * vg.Centimeter // of a legend
	space   = 0.5 * vg.Centimeter // between panels
	pngDPI  = 120
)

// seriesColor has the colours of series: those of Okabe and Ito, which also those who
// see few colours tell apart.
func seriesColor(i int) color.Color {
	colors := []color.RGBA{{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {86, 180, 233, 255}, {213, 94, 0, 255}}
	return colors[i%len(colors)]
}

// Write draws a figure.
func Write(w io.Writer, f *Figure, format Format) error {
	height := 2*margin + heading
	for _, p := range f.Panels {
		height += panelHeight(p) + space
	}
	switch format {
	case SVG:
		c := vgsvg.New(width, height)
		if err := f.drawOn(draw.New(c)); err != nil {
			return err
		}
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			return err
		}
		// Who lacks the font that widths were measured with has one alike.
		_, err := w.Write(bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")))
		return err
	case PNG:
		c := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(pngDPI))
		if err := f.drawOn(draw.New(c)); err != nil {
			return err
		}
		_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
		return err
	}
	return fmt.Errorf("chart: there is no format %q", format)
}

func panelHeight(p Panel) vg.Length {
	h := heading + p.axesHeight()
	if len(p.describeFrame().series) > 1 {
		h += strip
	}
	return h
}

func (f *Figure) drawOn(c draw.Canvas) error {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)
	c = writeLine(c, f.Title, textStyle(15, true), heading)
	for _, p := range f.Panels {
		h := panelHeight(p)
		if err := drawPanel(draw.Crop(c, 0, 0, c.Max.Y-c.Min.Y-h, 0), p); err != nil {
			return err
		}
		c = draw.Crop(c, 0, 0, 0, -h-space)
	}
	return nil
}

func drawPanel(c draw.Canvas, p Panel) error {
	d := p.describeFrame()
	c = writeLine(c, d.title, textStyle(12, true), heading)
	if len(d.series) > 1 {
		c = drawLegend(c, d.series)
	}
	pl, err := p.makePlot()
	if err != nil {
		return fmt.Errorf("chart: %s: %w", d.title, err)
	}
	pl.Draw(c)
	return nil
}

// writeLine writes text at the top of c and returns what is below it.
func writeLine(c draw.Canvas, line string, style text.Style, height vg.Length) draw.Canvas {
	style.YAlign = draw.YTop
	c.FillText(style, vg.Point{X: c.Min.X, Y: c.Max.Y}, line)
	return draw.Crop(c, 0, 0, 0, -height)
}

func drawLegend(c draw.Canvas, series []string) draw.Canvas {
	style := textStyle(10, false)
	style.YAlign = draw.YTop
	x, side := c.Min.X, vg.Points(9)
	for i, name := range series {
		top := c.Max.Y - vg.Points(1)
		square := vg.Rectangle{Min: vg.Point{X: x, Y: top - side}, Max: vg.Point{X: x + side, Y: top}}
		c.SetColor(seriesColor(i))
		c.Fill(square.Path())
		x += side + vg.Points(4)
		c.FillText(style, vg.Point{X: x, Y: c.Max.Y}, name)
		x += style.Width(name) + vg.Points(14)
	}
	return draw.Crop(c, 0, 0, 0, -strip)
}

func textStyle(size float64, bold bool) text.Style {
	s := text.Style{Color: color.Black, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}, Handler: plot.DefaultTextHandler}
	if bold {
		s.Font.Weight = 3 // bold, as golang.org/x/image/font counts
	}
	return s
}

// newPlot returns an empty plot in our fonts.
func newPlot() *plot.Plot {
	p := plot.New()
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font = textStyle(10, false).Font
		a.Tick.Label.Font = textStyle(9, false).Font
		a.Padding = 0
	}
	return p
}
