package chart

import (
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Lines show how values change over days.
type Lines struct {
	Title  string
	Unit   Unit
	Days   []time.Time // ascending
	Series []Series
}

// Add adds a day with a value for each series. A negative one is drawn as none.
func (l *Lines) Add(day time.Time, values ...float64) {
	l.Days = append(l.Days, day)
	for i := range l.Series {
		l.Series[i].Values = append(l.Series[i].Values, max(values[i], 0))
	}
}

func (l *Lines) describeFrame() *frame {
	f := &frame{title: l.Title}
	for _, s := range l.Series {
		f.series = append(f.series, s.Name)
	}
	return f
}

func (l *Lines) axesHeight() vg.Length { return 7 * vg.Centimeter }

func (l *Lines) makePlot() (*plot.Plot, error) {
	p := newPlot()
	most := 0.0
	for i, s := range l.Series {
		points := make(plotter.XYs, len(l.Days))
		for k, day := range l.Days {
			points[k] = plotter.XY{X: float64(day.Unix()), Y: s.Values[k]}
		}
		most = max(most, slices.Max(append([]float64{0}, s.Values...)))
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = seriesColor(i), vg.Points(1.5)
		dots.Color, dots.Radius = seriesColor(i), vg.Points(1.8)
		p.Add(line, dots)
	}
	if most == 0 {
		most = 1
	}
	by, label := l.Unit.scaleUnit(most)
	p.Y.Min, p.Y.Max = 0, most*1.08
	p.Y.Label.Text, p.Y.Tick.Marker = label, valueTicks(by)
	p.X.Label.Text = "day (UTC)"
	p.X.Tick.Marker = plot.TickerFunc(func(float64, float64) []plot.Tick { return dayTicks(l.Days) })
	if n := len(l.Days); n > 0 {
		p.X.Min, p.X.Max = float64(l.Days[0].Unix())-day/2, float64(l.Days[n-1].Unix())+day/2
	}
	return p, nil
}

const (
	day      = 86400.0 // seconds
	maxTicks = 8
)

// dayTicks are some of the days, at even distances.
func dayTicks(days []time.Time) (out []plot.Tick) {
	if len(days) == 0 {
		return nil
	}
	first := days[0]
	span := int(days[len(days)-1].Sub(first).Hours()/24) + 1
	step := (span + maxTicks - 1) / maxTicks
	for n := 0; n < span; n += max(step, 1) {
		at := first.AddDate(0, 0, n)
		out = append(out, plot.Tick{Value: float64(at.Unix()), Label: at.UTC().Format(time.DateOnly)})
	}
	return out
}
