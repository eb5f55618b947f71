package agent

import (
	"fmt"
	"testing"
)

func TestJitterOfFleetIsUniform(t *testing.T) {
	const hosts, parts = 10_000, 10
	var in [parts]int
	for host := range hosts {
		phase := JitterOf(fmt.Sprintf("7a9d1c52-0b7e-4a55-9e3f-%012x", host))
		if phase >= 10000 {
			t.Fatalf("phase %d", phase)
		}
		in[phase/(10000/parts)]++
	}
	for part, n := range in {
		// Of 10,000 fair throws, 1000 +- 30 fall into a tenth.
		if n < 850 || n > 1150 {
			t.Errorf("%d of %d hosts are in the %d. tenth", n, hosts, part+1)
		}
	}
	const boot = "0e2a5c1e-6ac1-4a8f-b0d1-9c4d7a2b1f33"
	if first, again := JitterOf(boot), JitterOf(boot); first != again {
		t.Errorf("a host has two phases, %d and %d", first, again)
	}
}
