package ops

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

var update = flag.Bool("update", false, "write the tables of docs/operations.md anew")

// slab is the size of an entry on most 64-bit kernels, in bytes.
const slab = 256

// maxEntries is the largest max that limits permit a host of so much memory, three
// quarters of which are available.
func maxEntries(l *policy.Limits, memory uint64) uint64 {
	o := policy.Observation{
		Table:  conntrack.Table{Max: 65536, Buckets: 65536},
		Memory: policy.Memory{Total: memory, Available: memory / 4 * 3, EntryBytes: slab},
	}
	a := l.Assess(&policy.State{}, &o)
	return a.Budget.Max
}

// TestProfileCapacity keeps the handbook's table of how high max may go.
func TestProfileCapacity(t *testing.T) {
	var b strings.Builder
	b.WriteString("| memory | defaults, Docker host | Kubernetes node | web server | small VPS | gateway |\n|--:|--:|--:|--:|--:|--:|\n")
	for _, gib := range []uint64{1, 4, 16, 64, 256} {
		fmt.Fprintf(&b, "| %d GiB |", gib)
		for _, profile := range []string{"docker", "kubernetes", "webserver", "vps", "gateway"} {
			c, err := config.Load(config.Source{Path: root + "packaging/profiles/" + profile + ".yaml", Explicit: true})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %s |", grouped(maxEntries(&c.Limits, gib<<30)))
		}
		b.WriteString("\n")
	}
	checkTable(t, "capacity", b.String())
}

// checkTable compares a table of the handbook with what it should be; with -update
// it writes it.
func checkTable(t *testing.T, name, table string) {
	t.Helper()
	book := read(t, handbook)
	shown := regexp.MustCompile("(?s)<!-- " + name + " -->\n.*?<!-- /" + name + " -->")
	if !shown.MatchString(book) {
		t.Errorf("the handbook has no table %s", name)
	}
	want := shown.ReplaceAllLiteralString(book, "<!-- "+name+" -->\n"+table+"<!-- /"+name+" -->")
	if *update {
		if err := os.WriteFile(handbook, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, book); diff != "" {
		t.Errorf("go test ./test/ops -run %s -update (-want +got):\n%s", t.Name(), diff)
	}
}

// TestTableMemory reckons the handbook's sums again.
func TestTableMemory(t *testing.T) {
	l := policy.Defaults()
	each := uint64(slab + l.Budget.ExtensionBytes)
	rows := regexp.MustCompile(`(?m)^\| ([\d,]+) \| (\d+) MiB \| ([\d.]+) MiB \| (\d+) MiB \|$`).FindAllStringSubmatch(read(t, handbook), -1)
	if len(rows) < 4 {
		t.Errorf("%d rows", len(rows))
	}
	for _, row := range rows {
		entries, err := strconv.ParseUint(strings.ReplaceAll(row[1], ",", ""), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		hash := float64(entries/l.Hash.MaxRatio*8) / (1 << 20)
		all := float64(entries*each)/(1<<20) + hash
		want := []string{fmt.Sprint(entries * each >> 20), strings.TrimSuffix(fmt.Sprintf("%.1f", hash), ".0"), fmt.Sprintf("%.0f", all)}
		// Half a MiB is rounded to either side.
		if diff := cmp.Diff(want[:2], row[2:4]); diff != "" || row[4] != want[2] && row[4] != fmt.Sprintf("%.0f", all+0.01) {
			t.Errorf("%s entries: want %v, the handbook says %v", row[1], want, row[2:])
		}
	}
}

// grouped prints a number with commas.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
