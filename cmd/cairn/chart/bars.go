package chart

import (
	"image/color"
	"slices"
	"strconv"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bars compare values with the same labels.
type Bars struct {
	Title  string
	Unit   Unit
	Labels []string
	Series []Series
	// Upright puts labels below bars, for a distribution. Else they stand on the
	// left of them, the first at the top.
	Upright   bool
	LabelAxis string // what the labels are, such as "size of chunks"
}

// A Series is a value for each label. In Bars several are drawn side by side.
type Series struct {
	Name   string
	Values []float64
}

const (
	barWidth    = 11 // points
	barGap      = 9
	uprightSize = 6 * vg.Centimeter
	maxLabel    = 48 // characters
)

// Add adds a label with a value for each series.
func (b *Bars) Add(label string, values ...float64) {
	b.Labels = append(b.Labels, label)
	for i := range b.Series {
		b.Series[i].Values = append(b.Series[i].Values, values[i])
	}
}

func (b *Bars) describeFrame() *frame {
	f := &frame{title: b.Title}
	for _, s := range b.Series {
		f.series = append(f.series, s.Name)
	}
	return f
}

func (b *Bars) axesHeight() vg.Length {
	if b.Upright {
		return uprightSize
	}
	each := vg.Points(float64(len(b.Series)*barWidth + barGap))
	return each*vg.Length(max(len(b.Labels), 1)) + 1.6*vg.Centimeter
}

func (b *Bars) makePlot() (*plot.Plot, error) {
	p := newPlot()
	most := 0.0
	for _, s := range b.Series {
		most = max(most, slices.Max(append([]float64{0}, s.Values...)))
	}
	if most == 0 {
		most = 1
	}
	by, label := b.Unit.scaleUnit(most)
	thick := vg.Points(barWidth)
	if b.Upright {
		room := float64(width-4*vg.Centimeter) / float64(max(len(b.Labels), 1)*len(b.Series))
		thick = min(thick*2, vg.Length(room*0.8))
	}
	for i, s := range b.Series {
		if err := b.addSeries(p, i, &s, thick, by); err != nil {
			return nil, err
		}
	}
	names := make([]string, max(len(b.Labels), 1))
	for i, l := range b.Labels {
		names[b.placeOf(i)] = shortenLabel(l)
	}
	values, labels := &p.X, &p.Y
	if b.Upright {
		values, labels = &p.Y, &p.X
		p.NominalX(names...)
	} else {
		p.NominalY(names...)
	}
	labels.Min, labels.Max = -0.6, float64(max(len(b.Labels), 1))-0.4
	labels.Label.Text = b.LabelAxis
	values.Min, values.Max = 0, most*1.12
	values.Label.Text, values.Tick.Marker = label, valueTicks(by)
	return p, nil
}

// placeOf returns where the i-th label stands: an axis begins at the bottom.
func (b *Bars) placeOf(i int) int {
	if b.Upright {
		return i
	}
	return len(b.Labels) - 1 - i
}

func (b *Bars) addSeries(p *plot.Plot, i int, s *Series, thick vg.Length, by float64) error {
	values := make(plotter.Values, len(b.Labels))
	tips := plotter.XYLabels{}
	for k, v := range s.Values {
		values[b.placeOf(k)] = v
	}
	if len(values) == 0 {
		return nil
	}
	chart, err := plotter.NewBarChart(values, thick)
	if err != nil {
		return err
	}
	offset := (vg.Length(i) - vg.Length(len(b.Series)-1)/2) * thick
	if !b.Upright {
		offset = -offset
	}
	chart.Color, chart.LineStyle.Width, chart.Offset, chart.Horizontal = seriesColor(i), 0, offset, !b.Upright
	p.Add(chart)
	if b.Upright {
		return nil
	}
	for k, v := range values {
		tips.XYs = append(tips.XYs, plotter.XY{X: v, Y: float64(k)})
		tips.Labels = append(tips.Labels, formatValue(v/by))
	}
	texts, err := plotter.NewLabels(tips)
	if err != nil {
		return err
	}
	texts.Offset = vg.Point{X: vg.Points(3), Y: offset}
	for k := range texts.TextStyle {
		texts.TextStyle[k].Font = textStyle(8, false).Font
		texts.TextStyle[k].YAlign = draw.YCenter
		texts.TextStyle[k].Color = color.Gray{60}
	}
	p.Add(texts)
	return nil
}

// formatValue writes a value beside its bar.
func formatValue(v float64) string {
	switch {
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	case v < 0.005:
		return "< 0.01"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// shortenLabel keeps the end of a long label: of a path, that tells most.
func shortenLabel(l string) string {
	n := utf8.RuneCountInString(l)
	if n <= maxLabel {
		return l
	}
	runes := []rune(l)
	return "…" + string(runes[n-maxLabel+1:])
}
