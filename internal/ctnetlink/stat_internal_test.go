package ctnetlink

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func TestStatRows(t *testing.T) {
	stat := func(cpu byte, first, last uint16) []byte {
		b := beginMessage(nil, msgStatsCPU, netlink.Multi, unix.AF_UNSPEC)
		b[len(b)-1] = cpu // the resource id of nfgenmsg
		for kind := first; kind <= last; kind++ {
			b = appendUint32(b, kind, uint32(cpu)<<24|uint32(kind))
		}
		endMessage(b, 0)
		setSequence(b, 9)
		return b
	}
	done := []byte{20, 0, 0, 0, 3, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	stale := stat(3, 1, 15)
	setSequence(stale, 8)
	c := &Conn{seq: 9}
	rows, over, err := c.statRows(slices.Concat(stale, stat(1, 1, 15), stat(0, 1, 13)), nil)
	if err != nil || over {
		t.Fatal(over, err)
	}
	if rows, over, err = c.statRows(done, rows); err != nil || !over {
		t.Fatal(over, err)
	}
	want := []cpuStat{
		{1, conntrack.CPUStat{
			Found: 1<<24 | 2, Invalid: 1<<24 | 4, Insert: 1<<24 | 8, InsertFailed: 1<<24 | 9, Drop: 1<<24 | 10,
			EarlyDrop: 1<<24 | 11, Error: 1<<24 | 12, SearchRestart: 1<<24 | 13, ClashResolve: 1<<24 | 14, ChainTooLong: 1<<24 | 15,
		}},
		{0, conntrack.CPUStat{ // as on Linux 5.4
			Found: 2, Invalid: 4, Insert: 8, InsertFailed: 9, Drop: 10, EarlyDrop: 11, Error: 12, SearchRestart: 13,
		}},
	}
	if diff := cmp.Diff(want, rows, cmp.AllowUnexported(cpuStat{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]conntrack.CPUStat{want[1].stat, want[0].stat}, inOrder(rows)); diff != "" {
		t.Errorf("in order: -want +got\n%s", diff)
	}
	refused := ack(9, unix.EPERM)
	if _, over, err := c.statRows(refused, nil); !over || err != unix.EPERM {
		t.Errorf("a refusal: %v, %v", over, err)
	}
}
