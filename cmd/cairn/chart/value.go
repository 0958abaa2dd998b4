package chart

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// A Unit says what values are, and how an axis tells them.
type Unit struct {
	Bytes bool
	Name  string // such as "chunks"; of bytes "" or what they are
}

// scaleUnit returns what values are divided by, and the label of the axis, for values up
// to most.
func (u Unit) scaleUnit(most float64) (by float64, label string) {
	names, step := []string{"", "thousand ", "million ", "thousand million "}, 1000.0
	if u.Bytes {
		names, step = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, 1024
	}
	by = 1
	i := 0
	for most/by >= 10*step && i < len(names)-1 || u.Bytes && most/by >= step && i < len(names)-1 {
		by *= step
		i++
	}
	switch {
	case !u.Bytes:
		return by, names[i] + u.Name
	case u.Name == "":
		return by, names[i]
	}
	return by, u.Name + ", " + names[i]
}

// valueTicks are some round numbers from zero on, that are told after division.
func valueTicks(by float64) plot.Ticker {
	return plot.TickerFunc(func(_, most float64) (out []plot.Tick) {
		step := roundStep(most / by / 5)
		for i := 0; float64(i)*step <= most/by*1.0001; i++ {
			v := float64(i) * step
			out = append(out, plot.Tick{Value: v * by, Label: strconv.FormatFloat(v, 'f', -1, 64)})
		}
		return out
	})
}

// roundStep returns the least of 1, 2 and 5 times a power of ten that is not below x.
func roundStep(x float64) float64 {
	if x <= 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= x*0.9999 {
			// As text and back, so that 0.30000000000000004 is 0.3.
			step, err := strconv.ParseFloat(fmt.Sprintf("%.3g", m*power), 64)
			if err != nil {
				return m * power
			}
			return step
		}
	}
	return 10 * power
}
