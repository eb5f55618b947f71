package ctnetlink

import (
	"encoding/binary"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestMessageFailure(t *testing.T) {
	code := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	for name, test := range map[string]struct {
		kind    netlink.HeaderType
		payload []byte
		want    error
	}{
		"an acknowledgement":               {netlink.Error, code(0), nil},
		"an error":                         {netlink.Error, code(-int32(unix.EINVAL)), unix.EINVAL},
		"the least number there is":        {netlink.Error, code(-1 << 31), unix.Errno(1 << 31)},
		"an error without a code":          {netlink.Error, nil, errFraming},
		"an error with half a code":        {netlink.Error, []byte{1, 2}, errFraming},
		"the end of a dump":                {netlink.Done, code(0), nil},
		"the end of a dump, with a length": {netlink.Done, code(20), nil},
		"the end of a dump, with an error": {netlink.Done, code(-int32(unix.EBUSY)), unix.EBUSY},
		"the end of a dump, empty":         {netlink.Done, nil, nil},
	} {
		if got := (message{kind: test.kind, payload: test.payload}).failure(); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
