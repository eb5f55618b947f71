package cli

import (
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
)

func TestWhatVerifyFoundIsCounted(t *testing.T) {
	p := verify.Problem{Kind: verify.Altered, Seq: 4, Text: "hash does not match the text"}
	for _, tt := range []struct {
		result verify.Result
		want   string
	}{
		{verify.Result{Records: 9}, "9 records, 0 problems\n"},
		{verify.Result{Records: 8, Problems: []verify.Problem{p}}, "record 4 altered: hash does not match the text\n8 records, 1 problem\n"},
		{verify.Result{Records: 8, Problems: []verify.Problem{p}, More: 7}, "record 4 altered: hash does not match the text\nand 7 more\n8 records, 8 problems\n"},
	} {
		var b strings.Builder
		if err := printVerified(&b, false, &tt.result); b.String() != tt.want || (err == nil) != tt.result.OK() {
			t.Errorf("%q, %v; want %q", b.String(), err, tt.want)
		}
	}
}

// TestATailOfNothingBeginsAtTheEnd: tail -n 0 -f is for what is to come.
func TestATailOfNothingBeginsAtTheEnd(t *testing.T) {
	needDrillLog(t)
	newest, _, err := audit.Last(drillLog)
	if err != nil {
		t.Fatal(err)
	}
	var c choice
	cmd := newAuditTail()
	cmd.SetContext(t.Context())
	for _, n := range []int{0, 3} {
		var out strings.Builder
		cmd.SetOut(&out)
		shown, after, err := c.last(cmd, drillLog, audit.Filter{}, n)
		if err != nil || shown != n || strings.Count(out.String(), "\n") != n || after != newest.Seq {
			t.Errorf("of %d: %d shown, %v, and on from %d, want %d:\n%s", n, shown, err, after, newest.Seq, out.String())
		}
	}
}
