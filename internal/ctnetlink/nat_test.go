package ctnetlink_test

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
)

// rules translate real packets, mark them and have one of them followed by
// a helper.
const rules = `
table ip nat0 {
	chain post {
		type nat hook postrouting priority 100
		oifname v0 masquerade
	}
	chain out {
		type nat hook output priority -100
		udp dport 5300 dnat to 127.0.0.1:5301
		tcp dport 8000 redirect to :8001
	}
}
table ip filter0 {
	ct helper followed {
		type "ftp" protocol tcp
	}
	chain out {
		type filter hook output priority 0
		tcp dport 2121 ct helper set "followed"
		tcp dport 8001 ct mark set 77
	}
}
table inet seen {
	chain out {
		type filter hook output priority 10
		ct state new counter
	}
}
`

// program finds one in PATH, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("needs the program "+name+": ", err)
	}
	return path
}

// inside runs a program in the namespace and returns what it prints.
func runInside(t *testing.T, ns *netns.NS, stdin string, argv ...string) string {
	t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.Output()
		return err
	})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%q: %v: %s", argv, err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return string(out)
}

// TestDecoderAgreesWithConntrackAboutNAT compares entries of real packets, with
// source and destination translated, a mark and a helper, with what conntrack
// lists.
func TestDecoderAgreesWithConntrackAboutNAT(t *testing.T) {
	tool, nft, ip := program(t, "conntrack"), program(t, "nft"), program(t, "ip")
	ns := cttest.NewNS(t)
	runInside(t, ns, "", ip, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	for _, addr := range []string{"10.9.0.1/24", "10.9.0.2/24"} {
		runInside(t, ns, "", ip, "addr", "add", addr, "dev", "v0")
	}
	for _, link := range []string{"v0", "v1"} {
		runInside(t, ns, "", ip, "link", "set", link, "up")
	}
	runInside(t, ns, rules, nft, "-f", "-")
	makeTraffic(t, ns)

	var want, got []string
	for line := range strings.Lines(runInside(t, ns, "", tool, "-L", "-f", "ipv4", "-o", "extended,id")) {
		want = append(want, followed(normalized(line)))
	}
	var status conntrack.Status
	helpers := 0
	for _, e := range list(t, ns, ctnetlink.Query{Family: conntrack.IPv4}) {
		status |= e.Status
		text := normalized(extended(&e))
		if e.HasHelper {
			helpers++
			text += " helper"
		}
		got = append(got, text)
		checkText(t, &e)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-conntrack +ctnetlink\n%s", diff)
	}
	if !status.Has(conntrack.StatusSrcNAT|conntrack.StatusDstNAT) || helpers != 1 {
		t.Errorf("the table has the status bits %s and %d helpers: not what the test is for", status, helpers)
	}
}

// followed puts the name of a helper, which a dump is not read for, at the end.
func followed(line string) string {
	var kept []string
	end := ""
	for field := range strings.FieldsSeq(line) {
		if strings.HasPrefix(field, "helper=") {
			end = " helper"
			continue
		}
		kept = append(kept, field)
	}
	return strings.Join(kept, " ") + end
}

// checkText compares the bits that a text is read for with the kernel's.
func checkText(t *testing.T, e *conntrack.Entry) {
	t.Helper()
	read, err := conntrack.ParseEntry(extended(e))
	if err != nil {
		t.Errorf("%s: %v", extended(e), err)
		return
	}
	const reported = conntrack.StatusSeenReply | conntrack.StatusAssured | conntrack.StatusSrcNAT | conntrack.StatusDstNAT
	if read.Status&reported != e.Status&reported || read.Orig != e.Orig || read.Reply != e.Reply || read.Zone != e.Zone || read.ID != e.ID {
		t.Errorf("the kernel has %s with %s, its text reads as %s with %s", e, e.Status, &read, read.Status)
	}
}

// talk sends what the rules are about, and an echo.
func makeTraffic(t *testing.T, ns *netns.NS) {
	t.Helper()
	err := ns.Do(func() error {
		echo, err := net.ListenPacket("udp4", "127.0.0.1:5301")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = echo.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				n, from, err := echo.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = echo.WriteTo(buf[:n], from)
			}
		}()
		if err := ask("127.0.0.1:5300"); err != nil {
			return err
		}
		if err := connect(t, "127.0.0.1:8000", "127.0.0.1:8001"); err != nil {
			return err
		}
		if err := connect(t, "127.0.0.1:2121", "127.0.0.1:2121"); err != nil {
			return err
		}
		// From its second address, so that masquerading changes it. Nobody
		// answers.
		out := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(10, 9, 0, 2)}}
		c, err := out.Dial("udp4", "10.9.0.77:9")
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		return errors.Join(err, c.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ask sends a packet and waits for the answer.
func ask(addr string) error {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 8))
	return err
}

// connect makes a TCP connection that stays open until the test ends.
func connect(t *testing.T, addr, listen string) error {
	t.Helper()
	l, err := net.Listen("tcp4", listen)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c, err := net.DialTimeout("tcp4", addr, 10*time.Second)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}
