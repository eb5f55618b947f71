package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Time returns a time by the reader's clock, with its distance to UTC ("Z" for
// none), in a form that can be given back to a flag.
func Time(t time.Time) string { return t.Local().Format(TimeLayout) }

// TimeLayout is the layout of Time.
const TimeLayout = "2006-01-02 15:04:05Z07:00"

// Number returns n in groups of three digits.
func Number(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Duration returns a measured duration in its two largest units.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second).Seconds())
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d days %d h", s/86400, s%86400/3600)
}

// Seconds returns a configured number of seconds in the largest unit that
// divides it.
func Seconds(n uint32) string {
	switch {
	case n%86400 == 0:
		return fmt.Sprintf("%d d", n/86400)
	case n%3600 == 0:
		return fmt.Sprintf("%d h", n/3600)
	case n%60 == 0 && n > 60:
		return fmt.Sprintf("%d min", n/60)
	}
	return fmt.Sprintf("%d s", n)
}

// Bar draws n of width.
func Bar(n, width uint64) string {
	n = min(n, width)
	return "[" + strings.Repeat("#", int(n)) + strings.Repeat("-", int(width-n)) + "]"
}

// tickStep rounds up to 1, 2 or 5 times a power of ten.
func tickStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, times := range [...]float64{1, 2, 5} {
		if v <= times*unit {
			return times * unit
		}
	}
	return 10 * unit
}

// tickInterval returns an interval that people count in, for at most as many
// labels along length (2 at the least).
func tickInterval(length time.Duration, labels int) time.Duration {
	for _, step := range [...]time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	} {
		if length/step <= time.Duration(max(labels, 2)) {
			return step
		}
	}
	return max(length/time.Duration(max(labels, 2)), 48*time.Hour).Truncate(24 * time.Hour)
}

// tickNumber returns a round number for an axis.
func tickNumber(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// tickTime returns a time for an axis whose labels are a step apart.
func tickTime(at time.Time, step time.Duration) string {
	switch {
	case step >= 24*time.Hour:
		return at.UTC().Format("Jan 2")
	case step >= time.Minute:
		return at.UTC().Format("15:04")
	}
	return at.UTC().Format("15:04:05")
}

// tickOffset returns a round duration for an axis, as in 1h30m.
func tickOffset(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
