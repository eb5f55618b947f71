package loop_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestIncidentsOfOneSecondHaveDistinctNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(100_000, 0, 7, 8)
		runHost(t, h, nil, func(*loop.Loop) {
			h.set(func() { h.fill[0], h.fill[7], h.fill[8] = 80_000, 80_000, 80_000 })
			time.Sleep(900 * time.Millisecond)
		})
		const second = "INC-20000101T000000Z"
		for name, want := range map[string]int{second: 3, second + "-7": 1, second + "-8": 1} {
			if got := h.count(record.KindIncidentOpen, name); got != want {
				t.Errorf("%d incidents are called %s, want %d: %v", got, name, want, h.records)
			}
		}
	})
}
