package ctnetlink_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// TestDumpAgreesWithConntrack compares entry by entry with what the conntrack
// program lists.
func TestDumpAgreesWithConntrack(t *testing.T) {
	path, err := exec.LookPath("conntrack")
	if err != nil {
		t.Skip("needs the conntrack program: ", err)
	}
	ns := cttest.NewNS(t)
	cttest.Create(t, ns, oneOfEach(t)...)
	var want []string
	for _, family := range []string{"ipv4", "ipv6"} {
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = exec.Command(path, "-L", "-f", family, "-o", "extended,id").Output()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			want = append(want, normalized(line))
		}
	}
	var got []string
	for _, e := range list(t, ns, ctnetlink.Query{}) {
		got = append(got, normalized(extended(&e)))
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 {
		t.Fatal("conntrack lists nothing")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-conntrack +ctnetlink\n%s", diff)
	}
}

// normalized leaves out what a second run may tell otherwise or what entries
// do not hold: the padding, the remaining time and the use count.
func normalized(line string) string {
	var kept []string
	for i, field := range strings.Fields(line) {
		// family, its number, protocol, its number, remaining time, …
		if i != 4 && !strings.HasPrefix(field, "use=") {
			kept = append(kept, field)
		}
	}
	return strings.Join(kept, " ")
}

// extended writes an entry as conntrack does with -o extended,id.
func extended(e *conntrack.Entry) string {
	var b strings.Builder
	family := "ipv4 2"
	if e.Family == 10 {
		family = "ipv6 10"
	}
	name := conntrack.ProtoName(e.Proto)
	if e.Proto == 253 {
		name = "unknown"
	}
	fmt.Fprintf(&b, "%s %s %d %d", family, name, e.Proto, e.Timeout)
	switch e.Proto {
	case conntrack.ProtoTCP:
		fmt.Fprintf(&b, " %s", e.State)
	case conntrack.ProtoSCTP, conntrack.ProtoDCCP:
		b.WriteString(" NONE") // a state that ctwarden does not read
	}
	b.WriteString(direction(e.Proto, e.Orig))
	if e.Status.Unreplied() {
		b.WriteString(" [UNREPLIED]")
	}
	b.WriteString(direction(e.Proto, e.Reply))
	if e.Status.Has(conntrack.StatusAssured) {
		b.WriteString(" [ASSURED]")
	}
	fmt.Fprintf(&b, " mark=%d", e.Mark)
	if e.Zone != 0 {
		fmt.Fprintf(&b, " zone=%d", e.Zone)
	}
	fmt.Fprintf(&b, " id=%d", e.ID)
	return b.String()
}

func direction(proto uint8, t conntrack.Tuple) string {
	s := fmt.Sprintf(" src=%s dst=%s", t.Src, t.Dst)
	switch proto {
	case conntrack.ProtoICMP, conntrack.ProtoICMPv6:
		return s + fmt.Sprintf(" type=%d code=%d id=%d", t.ICMPType, t.ICMPCode, t.ICMPID)
	case conntrack.ProtoGRE:
		return s + fmt.Sprintf(" srckey=%#x dstkey=%#x", t.SrcPort, t.DstPort)
	case conntrack.ProtoTCP, conntrack.ProtoUDP, conntrack.ProtoSCTP, conntrack.ProtoDCCP, conntrack.ProtoUDPLite:
		return s + fmt.Sprintf(" sport=%d dport=%d", t.SrcPort, t.DstPort)
	}
	return s
}
