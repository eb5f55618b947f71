package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// A kind is a way of writing a number. A number without its unit is refused:
// viper alone would take "cooldown: 10" for ten nanoseconds.
type kind uint8

const (
	count    kind = iota // entries, acts: 12
	share                // hundredths of a percent: 75%, 2.5%
	duration             // nanoseconds: 250ms, 1h30m, 90d
	seconds              // whole seconds: 30s
	size                 // bytes: 128B, 16MiB
)

// noun returns what an operator calls it.
func (k kind) noun() string {
	return [...]string{
		"a whole number", "a share", "a duration", "a duration in whole seconds", "a size",
	}[k]
}

// parse reads text. It is strict: no sign, no space, no other spelling.
func (k kind) parse(text string) (uint64, bool) {
	switch k {
	case share:
		return parseShare(text)
	case duration:
		return parseDuration(text)
	case seconds:
		d, ok := parseDuration(text)
		return d / uint64(time.Second), ok && d%uint64(time.Second) == 0
	case size:
		return parseSize(text)
	}
	return parseCount(text)
}

// format is the inverse of parse.
func (k kind) format(n uint64) string {
	switch k {
	case share:
		return formatShare(n)
	case duration:
		return formatDuration(n)
	case seconds:
		return formatDuration(n * uint64(time.Second))
	case size:
		return formatSize(n)
	}
	return strconv.FormatUint(n, 10)
}

// parseCount takes decimal digits only: YAML would read 010 as 8 and 1_0 as 10.
func parseCount(text string) (uint64, bool) {
	if len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

func parseShare(text string) (uint64, bool) {
	number, ok := strings.CutSuffix(text, "%")
	if !ok {
		return 0, false
	}
	whole, fraction, pointed := strings.Cut(number, ".")
	n, ok := parseCount(whole)
	if !ok || n > math.MaxUint32/100-1 {
		return 0, false
	}
	if !pointed {
		return n * 100, true
	}
	hundredths, err := strconv.ParseUint((fraction + "0")[:min(2, len(fraction)+1)], 10, 8)
	if err != nil || len(fraction) < 1 || len(fraction) > 2 {
		return 0, false
	}
	return n*100 + hundredths, true
}

func formatShare(n uint64) string {
	text := strconv.FormatUint(n/100, 10)
	if rest := n % 100; rest != 0 {
		text += strings.TrimSuffix("."+strconv.FormatUint(rest/10, 10)+strconv.FormatUint(rest%10, 10), "0")
	}
	return text + "%"
}

const day = 24 * time.Hour

// parseDuration takes what time.ParseDuration takes, but for signs and a bare
// 0, and whole days: 90d.
func parseDuration(text string) (uint64, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, ok := parseCount(days)
		return n * uint64(day), ok && n <= math.MaxInt64/uint64(day)
	}
	d, err := time.ParseDuration(text)
	if err != nil || text == "0" || text[0] == '+' || text[0] == '-' {
		return 0, false
	}
	// 0.1ns would be rounded to 0, which means something else.
	return uint64(d), d != 0 || !strings.ContainsAny(text, "123456789")
}

// formatDuration leaves out the units that are zero at the end: 2m, not 2m0s.
func formatDuration(n uint64) string {
	if n > math.MaxInt64 { // a negative duration: show it as one
		return time.Duration(n).String()
	}
	if n >= 2*uint64(day) && n%uint64(day) == 0 {
		return strconv.FormatUint(n/uint64(day), 10) + "d"
	}
	text := time.Duration(n).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// sizeUnits are the binary units only: whether MB is 1000² or 1024² bytes is
// a matter of opinion, so neither is taken.
func sizeUnits() [5]string { return [...]string{"B", "KiB", "MiB", "GiB", "TiB"} }

func parseSize(text string) (uint64, bool) {
	unit := strings.TrimLeft(text, "0123456789")
	n, ok := parseCount(strings.TrimSuffix(text, unit))
	if !ok {
		return 0, false
	}
	for i, u := range sizeUnits() {
		if unit == u {
			return n << (10 * i), n <= math.MaxUint64>>(10*i)
		}
	}
	return 0, false
}

func formatSize(n uint64) string {
	units := sizeUnits()
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatUint(n, 10) + units[i]
}
