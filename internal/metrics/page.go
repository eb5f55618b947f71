package metrics

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
)

// A page writes families of samples in the text format of Prometheus, version
// 0.0.4. Everything is a constant at the moment of writing, so there is no
// registry that could hold on to the labels of a namespace that is gone.
type page struct {
	w *bufio.Writer
	// name is the family that is being written.
	name string
}

func newPage(w io.Writer) *page { return &page{w: bufio.NewWriter(w)} }

// family begins one: the samples that follow belong to it.
func (p *page) family(kind, name, help string) {
	p.name = "ctwarden_" + name
	for _, s := range [...]string{"# HELP ", p.name, " ", help, "\n# TYPE ", p.name, " ", kind, "\n"} {
		p.w.WriteString(s)
	}
}

func (p *page) gauge(name, help string)   { p.family("gauge", name, help) }
func (p *page) counter(name, help string) { p.family("counter", name, help) }

// one writes a family of one gauge without labels.
func (p *page) one(name, help string, value float64) {
	p.gauge(name, help)
	p.sample(value)
}

// sample writes one sample. Labels are names and values in turn.
func (p *page) sample(value float64, labels ...string) { p.suffixed("", value, labels...) }

func (p *page) suffixed(suffix string, value float64, labels ...string) {
	p.w.WriteString(p.name)
	p.w.WriteString(suffix)
	for i := 0; i+1 < len(labels); i += 2 {
		p.w.WriteByte("{,"[min(i, 1)])
		p.w.WriteString(labels[i])
		p.w.WriteString(`="`)
		p.w.WriteString(escape(labels[i+1]))
		p.w.WriteByte('"')
	}
	if len(labels) > 1 {
		p.w.WriteByte('}')
	}
	p.w.WriteByte(' ')
	p.w.WriteString(number(value))
	p.w.WriteByte('\n')
}

// escape makes a label value safe: backslash, quote and newline have a meaning.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(text, "\uFFFD"))
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
