package doctor

import (
	"fmt"
	"io"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// A Verdict is how a check ended.
type Verdict string

// The verdicts.
const (
	Fine  Verdict = "fine"
	Note  Verdict = "note"  // not wrong, but good to know
	Wrong Verdict = "wrong" // ctwarden, or the host, can't do its job as it should
)

// A Finding is what one check found. Its JSON is a contract.
type Finding struct {
	Area    string  `json:"area"`
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	// Text is what was found and, unless it is fine, what that means; Fix is
	// the command, or the line of a file, that fixes it.
	Text string `json:"text"`
	Fix  string `json:"mend,omitempty"`
}

// CountWrong returns how many checks found something wrong.
func CountWrong(found []Finding) int {
	n := 0
	for i := range found {
		if found[i].Verdict == Wrong {
			n++
		}
	}
	return n
}

// Print prints the findings as a table, for a person. What comes from outside
// is made harmless. An error is that of out.
func Print(out io.Writer, found []Finding) error {
	w := ui.NewTable(out)
	area := ""
	for i := range found {
		f := &found[i]
		shown := ""
		if f.Area != area {
			area, shown = f.Area, f.Area
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", shown, f.Check, f.Verdict, audit.Sanitise(f.Text))
		if f.Fix != "" && f.Verdict != Fine {
			fmt.Fprintf(w, "\t\t\t  fix: %s\n", audit.Sanitise(f.Fix))
		}
	}
	if bad := CountWrong(found); bad == 0 {
		fmt.Fprintf(w, "\nnothing is wrong\n")
	} else {
		fmt.Fprintf(w, "\n%d of %d checks found something wrong\n", bad, len(found))
	}
	return w.Flush()
}
