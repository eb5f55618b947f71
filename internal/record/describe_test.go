package record

import (
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

func TestDescribe(t *testing.T) {
	by := Requester{UID: 7, For: time.Minute}
	edge := Edge{Incident: "INC-1", Name: "web"}
	closed := edge
	closed.Why = "the table is calm"
	for want, p := range map[string]Payload{
		"ctwarden 1.0 starts on Linux 6.1, mode observe":               &Start{Version: "1.0", Kernel: "6.1", Mode: "observe"},
		"paused by uid 7 for 1m0s: no reason given":                    &Pause{Requester: by},
		"resumed by uid 7: done":                                       &Resume{Requester: Requester{UID: 7, Reason: "done"}},
		"uid 7 requested a revert of every value: no reason given":     &Revert{Requester: by},
		"incident INC-1 opened (web)":                                  &IncidentOpen{edge},
		"incident INC-1 closed: the table is calm (web)":               &IncidentClose{closed},
		"kernel log: table full in netns 9, dropping packet (3 times)": &Signal{Signal: policy.Signal{Named: true, NetNS: 9, Count: 3}},
		"kernel log: table full, dropping packet":                      &Signal{Signal: policy.Signal{Count: 1}},
		"what the writer set":                                          &Stop{Text: "what the writer set"},
		"the writer's own":                                             &Revert{Requester: by, Text: "the writer's own"},
	} {
		Describe(p)
		if got := p.Headline().Sentence; got != want {
			t.Errorf("%T: %q, want %q", p, got, want)
		}
	}
}
