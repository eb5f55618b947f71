package incident

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/advice"
)

// Facts returns what a permanent fix is sized from after an incident.
func (i *Incident) Facts() advice.Facts {
	n := advice.Facts{
		Source: fmt.Sprintf("incident %s of %s", printableID(i.ID), i.Start.UTC().Format("2006-01-02 15:04 UTC")),
		Peak:   i.Peak.Entries, Max: i.originalMax(), Buckets: i.First.Buckets, Budget: i.HostContext.Budget,
		Timeouts: i.HostContext.Timeouts, Cause: i.Cause,
	}
	// Of the packets that were lost, those of one lifetime would have been in
	// the table together.
	if i.Losses.Packets > 0 {
		share := 1.0
		m := i.censusModel()
		if leaving := m.expiryRate(&i.HostContext.Timeouts); leaving > 0 && i.Duration > 0 {
			share = min(1/leaving/i.Duration.Seconds(), 1)
		}
		n.Refused = uint64(float64(i.Losses.Packets) * share)
	}
	if look := i.lastCensus(); look != nil {
		n.Census = look.Summary
		if look.Top != nil {
			n.Top = *look.Top
		}
	}
	return n
}

func (i *Incident) lastCensus() *Census {
	if i.After != nil {
		return i.After
	}
	return i.Before
}

// printableID returns the name of an incident as a word for a comment: a log from
// elsewhere could hold one that ends the line.
func printableID(id string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, id[:min(len(id), 64)])
}
