package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/config"
)

// A roff is a man page being written. See man(7) of groff for the requests.
type roff struct{ buf bytes.Buffer }

func (r *roff) bytes() []byte { return r.buf.Bytes() }

// escape keeps roff from reading text as a request and from printing a dash as a hyphen, which a shell rejects.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "µ", `\[mc]`, "×", `\[mu]`, "≤", `\[<=]`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

func (r *roff) request(name string, args ...string) {
	r.buf.WriteString("." + name)
	for _, a := range args {
		// roff does not take a quoted number.
		if a = strings.ReplaceAll(escape(a), `"`, `\(dq`); a == "" || strings.ContainsAny(a, " -") {
			a = `"` + a + `"`
		}
		r.buf.WriteString(" " + a)
	}
	r.buf.WriteString("\n")
}

func (r *roff) title(name, section string, b build) {
	// Not escaped: mandoc parses a date with plain dashes only.
	fmt.Fprintf(&r.buf, ".TH %s %s %s \"ctwarden %s\" ctwarden\n",
		strings.ToUpper(name), section, b.date.Format("2006-01-02"), b.version)
	// No hyphenation and no justification: much of the text is names.
	r.request("nh")
	r.request("ad", "l")
}

func (r *roff) section(name string) { r.request("SH", name) }

// widest is the longest source line that mandoc -T lint accepts.
const widest = 80

// text writes words in lines that mandoc accepts. roff fills them again.
func (r *roff) text(words string) {
	line := ""
	for word := range strings.FieldsSeq(words) {
		if line != "" && len(escape(line+" "+word)) > widest {
			r.buf.WriteString(escape(line) + "\n")
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	r.buf.WriteString(escape(line) + "\n")
}

func (r *roff) bold(line string) { r.request("B", line) }

// prose writes paragraphs and keeps indented lines as they are.
func (r *roff) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			r.request("PP")
		}
		if strings.HasPrefix(paragraph, " ") || strings.HasPrefix(paragraph, "\t") {
			r.verbatim(paragraph)
			continue
		}
		r.text(paragraph)
	}
}

func (r *roff) verbatim(text string) {
	r.request("nf")
	r.request("RS", "4")
	for line := range strings.Lines(text) {
		r.buf.WriteString(escape(strings.TrimRight(line, "\n")) + "\n")
	}
	r.request("RE")
	r.request("fi")
}

// items writes a section of terms and their meanings, or nothing if there are none.
func (r *roff) items(section string, items []item) {
	if len(items) == 0 {
		return
	}
	r.section(section)
	for _, i := range items {
		r.request("TP")
		r.bold(i.name)
		r.text(i.about)
	}
}

func (r *roff) key(k config.Description) {
	r.request("TP")
	r.bold(k.Path + ": " + k.Default)
	r.text(k.About)
	r.request("br")
	r.text("Takes " + k.Takes + ".")
}
