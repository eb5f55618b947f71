package watcher

import (
	"testing"
	"time"
)

// TestTwinsOfManyNamespacesAreBounded: none of them is confirmed by the other
// source, and all come within the time that a twin may take.
func TestTwinsOfManyNamespacesAreBounded(t *testing.T) {
	var twins Twins
	for i := range uint32(10 * maxTwins) {
		s := Signal{Source: SourceKmsg, Count: 1, Mono: time.Minute}
		s.NetNS, s.Named = i+1, true
		if _, news := twins.Single(s); !news {
			t.Fatalf("the line of netns %d is no news", i+1)
		}
	}
	if n := len(twins.passed); n != maxTwins {
		t.Errorf("%d entries wait for their twins, want %d", n, maxTwins)
	}
	last := Signal{Source: SourceJournald, Count: 1, Mono: time.Minute}
	last.NetNS, last.Named = 10*maxTwins, true
	if _, news := twins.Single(last); news {
		t.Error("the latest was forgotten before the oldest")
	}
}

// TestTwinsAreForgotten when no source can be so late any more.
func TestTwinsAreForgotten(t *testing.T) {
	var twins Twins
	for i := range 1000 {
		twins.Single(Signal{Source: SourceKmsg, Count: 1, Mono: time.Duration(i) * time.Second})
	}
	if n, most := len(twins.passed), int(twinMemory/time.Second)+1; n > most {
		t.Errorf("%d entries of the last %s, want %d at most", n, twinMemory, most)
	}
}
