package tablesim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// The upper limits of a scenario.
const (
	maxTableMax = 1<<32 - 1 // -1 on kernels that take it
	maxEntries  = 1 << 30
	maxTimeout  = 2147483 // INT_MAX/HZ at HZ 1000
	maxRate     = 1e7
	maxRun      = 31 * 24 * time.Hour
)

// next takes the next word of the line; "" at its end.
func (p *parser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

// accept takes the next word if it is this one.
func (p *parser) accept(word string) bool {
	if len(p.words) == 0 || p.words[0] != word {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *parser) number(least, most uint64) (uint64, error) {
	word := p.next()
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a number from %d to %d", word, least, most)
	}
	return n, nil
}

func (p *parser) duration(least, most time.Duration) (time.Duration, error) {
	word := p.next()
	d, err := time.ParseDuration(word)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%q is not a duration from %s to %s", word, least, most)
	}
	return d, nil
}

func (p *parser) rate() (float64, error) {
	word := p.next()
	digits, ok := strings.CutSuffix(word, "/s")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= maxRate) {
		return 0, fmt.Errorf("%q is not a rate from 0/s to 1e7/s", word)
	}
	return n, nil
}

func (p *parser) percent() (conntrack.Permyriad, error) {
	word := p.next()
	digits, ok := strings.CutSuffix(word, "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return 0, fmt.Errorf("%q is not a share from 0%% to 100%%", word)
	}
	return conntrack.Permyriad(math.Round(n * 100)), nil
}

func (p *parser) size() (uint64, error) {
	word := p.next()
	for _, unit := range units() {
		digits, ok := strings.CutSuffix(word, unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || n == 0 || n > 1<<46/unit.bytes {
			break
		}
		return n * unit.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size such as 8GiB", word)
}

func (p *parser) knob() (Knob, error) {
	word := p.next()
	switch word {
	case "max":
		return Knob{Part: PartMax}, nil
	case "buckets":
		return Knob{Part: PartBuckets}, nil
	}
	t, err := conntrack.ParseTimeout(word)
	if err != nil {
		return Knob{}, fmt.Errorf("%q is neither max, buckets nor a timeout", word)
	}
	return Knob{Part: PartTimeouts, Timeout: t}, nil
}

// in reads the namespace that a line is about, if it names one.
func (p *parser) in() (string, error) {
	if !p.accept("in") {
		return "", nil
	}
	name := p.next()
	if p.scenario.Machine.find(name) == 0 {
		return "", fmt.Errorf("no namespace %q: a netns line must come first", name)
	}
	return name, nil
}

func isWord(s string) bool {
	for _, c := range s {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

type unit struct {
	name  string
	bytes uint64
}

func units() [4]unit {
	return [4]unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

func formatSize(n uint64) string {
	for _, unit := range units() {
		if n%unit.bytes == 0 {
			return strconv.FormatUint(n/unit.bytes, 10) + unit.name
		}
	}
	return ""
}

func formatRate(r float64) string { return strconv.FormatFloat(r, 'f', -1, 64) + "/s" }

func formatShare(p uint64) string {
	return strconv.FormatFloat(float64(p)/100, 'f', -1, 64) + "%"
}
