package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/doctor"
)

func TestDoctorExitStatus(t *testing.T) {
	found := []doctor.Finding{
		{Area: "table", Check: "max", Verdict: doctor.Wrong, Text: "it is 0", Fix: "sysctl -w x=1"},
		{Area: "table", Check: "fill", Verdict: doctor.Fine, Text: "10%"},
	}
	var out bytes.Buffer
	if err := printFindings(&out, found, false); !errors.Is(err, errFound) || !strings.Contains(out.String(), "1 of 2 checks") {
		t.Errorf("ended with %v after\n%s", err, out.String())
	}
	out.Reset()
	if err := printFindings(&out, found, true); !errors.Is(err, errFound) {
		t.Errorf("as JSON, ended with %v", err)
	}
	out.Reset()
	if err := printFindings(&out, found[1:], true); err != nil {
		t.Error(err)
	}
	var answer struct {
		Wrong    *int
		Findings []doctor.Finding
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Wrong == nil || *answer.Wrong != 0 || len(answer.Findings) != 1 {
		t.Errorf("%s: %v", out.String(), err)
	}
}
