package census_test

import (
	"fmt"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Count sums entries by what the limits permit to do about them.
func ExampleCount() {
	limits := policy.Defaults()
	c := limits.Count(conntrack.DefaultTimeouts(), conntrack.Protect{})
	unreplied := conntrack.Entry{Proto: conntrack.ProtoUDP, Timeout: 12} // of 30 s: idle for 18 s
	closing := conntrack.Entry{
		Proto: conntrack.ProtoTCP, State: conntrack.StateTimeWait, Timeout: 100,
		Status: conntrack.StatusSeenReply | conntrack.StatusAssured,
	}
	for range 3 {
		c.Add(&unreplied)
	}
	c.Add(&closing)

	s := c.Summary
	fmt.Printf("%d entries: %s unreplied, %s closing\n", s.Seen, policy.Percent(s.Share(s.Unreplied)), policy.Percent(s.Share(s.Closing)))
	fmt.Printf("%d may be deleted, %d may be aged\n", s.Deletable, s.Ageable)

	// Output:
	// 4 entries: 75.0% unreplied, 25.0% closing
	// 3 may be deleted, 1 may be aged
}
