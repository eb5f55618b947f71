package cli

import (
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/policy"
)

func TestHintNamesTheSameLog(t *testing.T) {
	if got := sameLog("ctwarden incident list", config.Default().Audit.Path); got != "ctwarden incident list" {
		t.Errorf("the default log: %s", got)
	}
	if got := sameLog("ctwarden incident list", "/tmp/of gw1.jsonl"); got != "ctwarden incident list --log '/tmp/of gw1.jsonl'" {
		t.Errorf("another log: %s", got)
	}
}

func TestUnreadableLedgerIsReported(t *testing.T) {
	r := status.Status{Ledger: "open /var/lib/ctwarden/ledger.json: permission denied"}
	var b strings.Builder
	if err := printScreen(&b, &r); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); strings.Contains(out, "nothing") || !strings.Contains(out, "permission denied") || !strings.Contains(out, "sudo ctwarden status") {
		t.Errorf("status:\n%s", out)
	}
}

// TestSingleSampleHasNoRates: nothing was counted, which is not the
// same as nothing being lost.
func TestSingleSampleHasNoRates(t *testing.T) {
	r := standing(policy.High, 9, 10, policy.NotHeld)
	for _, running := range []bool{true, false} {
		r.Running = running
		var b strings.Builder
		if err := printScreen(&b, r); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if told := strings.Contains(out, "0 packets dropped") && strings.Contains(out, "forecast"); told != running {
			t.Errorf("a daemon: %t, its figures: %t\n%s", running, told, out)
		}
	}
}
