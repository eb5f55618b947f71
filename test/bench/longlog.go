package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// drillLog is the audit log of a real drill, from which writeLong makes a long log.
const drillLog = "internal/report/testdata/drill.jsonl"

// A longLog is the content of a log that writeLong wrote.
type longLog struct {
	records   uint64
	incidents []string
}

// A template is a record of the drill to be written again.
type template struct {
	after time.Duration // since the first record
	kind  string
	// text is the line between "kind" and "prev".
	text string
}

// writeLong writes a log of about size bytes: the drill again and again, every
// two hours, each with flight more records of ten samples before its end. The
// chain is whole.
func writeLong(path string, size int64, flight int) (made longLog, err error) {
	d, err := readDrill()
	if err != nil {
		return made, err
	}
	file, err := os.Create(path)
	if err != nil {
		return made, err
	}
	w := chainWriter{out: bufio.NewWriterSize(file, 1<<20), prev: strings.Repeat("0", 2*sha256.Size)}
	defer func() { err = errors.Join(err, w.out.Flush(), file.Sync(), file.Close()) }()
	for start := d.start; w.written < size; start = start.Add(2 * time.Hour) {
		name := "INC-" + start.Format("20060102T150405Z")
		made.incidents = append(made.incidents, name)
		for n := range d.records {
			t := &d.records[n]
			text := strings.ReplaceAll(t.text, d.incident, name)
			w.write(start.Add(t.after), t.kind, text)
			if n != d.last {
				continue
			}
			for i := range flight {
				w.write(start.Add(t.after), t.kind, d.sample(name, time.Duration(i+1)*10*time.Second))
			}
		}
	}
	made.records = w.seq
	return made, nil
}

// A drillRecord is the record of a real drill, read.
type drillRecord struct {
	records  []template
	incident string
	start    time.Time
	// last is the last record of samples, and full one with ten.
	last, full int
	at         time.Duration
}

func readDrill() (d drillRecord, err error) {
	text, err := os.ReadFile(drillLog)
	if err != nil {
		return d, err
	}
	for line := range strings.Lines(string(text)) {
		var r struct {
			Time     time.Time       `json:"time"`
			Kind     string          `json:"kind"`
			Incident string          `json:"incident"`
			At       string          `json:"at"`
			Samples  [][]json.Number `json:"samples"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return d, err
		}
		if d.start.IsZero() {
			d.start = r.Time
		}
		d.incident = cmp.Or(d.incident, r.Incident)
		_, body, _ := strings.Cut(line, `"kind":"`+r.Kind+`"`)
		body, _, found := strings.Cut(body, `,"prev":"`)
		if !found {
			return d, fmt.Errorf("%s: a line that is no record", drillLog)
		}
		if r.Kind == "sample" {
			d.last = len(d.records)
		}
		if len(r.Samples) == 10 && d.full == 0 {
			d.full = len(d.records)
			if d.at, err = time.ParseDuration(r.At); err != nil {
				return d, err
			}
		}
		d.records = append(d.records, template{r.Time.Sub(d.start), r.Kind, body})
	}
	if d.full == 0 || d.incident == "" {
		return d, fmt.Errorf("%s: no incident with ten samples in a record", drillLog)
	}
	return d, nil
}

// sample returns the text of the record with ten samples, later.
func (d *drillRecord) sample(name string, later time.Duration) string {
	text := strings.ReplaceAll(d.records[d.full].text, d.incident, name)
	return strings.Replace(text, d.at.String(), (d.at + time.Minute + later).String(), 1)
}

// A chainWriter writes records in the format of docs/audit-log.md.
type chainWriter struct {
	out     *bufio.Writer
	seq     uint64
	prev    string
	written int64
}

func (w *chainWriter) write(at time.Time, kind, text string) {
	w.seq++
	line := fmt.Sprintf(`{"seq":%d,"time":"%s","kind":"%s"%s,"prev":"%s"`,
		w.seq, at.Format("2006-01-02T15:04:05.000000000Z"), kind, text, w.prev)
	sum := sha256.Sum256([]byte(line + "}"))
	w.prev = hex.EncodeToString(sum[:])
	n, _ := fmt.Fprintf(w.out, "%s,\"hash\":\"%s\"}\n", line, w.prev) // Flush returns the error
	w.written += int64(n)
}
