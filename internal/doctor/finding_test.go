package doctor_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/doctor"
)

func TestFindingsArePrintedWithWhatMendsThem(t *testing.T) {
	found := []doctor.Finding{
		{Area: "table", Check: "max", Verdict: doctor.Wrong, Text: "it is 0", Fix: "sysctl -w x=1"},
		{Area: "table", Check: "fill", Verdict: doctor.Fine, Text: "10%", Fix: "never shown"},
		{Area: "clock", Check: "time", Verdict: doctor.Note, Text: "a\x1bb"},
	}
	for name, test := range map[string]struct {
		found []doctor.Finding
		wrong int
		want  string
	}{
		"one is wrong": {found, 1, `table  max   wrong  it is 0
                      fix: sysctl -w x=1
       fill  fine   10%
clock  time  note   a\x1bb

1 of 3 checks found something wrong
`},
		"none is wrong": {found[1:], 0, `table  fill  fine  10%
clock  time  note  a\x1bb

nothing is wrong
`},
	} {
		t.Run(name, func(t *testing.T) {
			if n := doctor.CountWrong(test.found); n != test.wrong {
				t.Errorf("%d are wrong, want %d", n, test.wrong)
			}
			var out bytes.Buffer
			if err := doctor.Print(&out, test.found); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
