package incident

import (
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/advice"
)

func TestNameOfAnIncidentCanNotEndAComment(t *testing.T) {
	i := Incident{ID: "X\nnet.ipv4.ip_forward = 1\r\u2028" + strings.Repeat("y", 1000), Start: time.Unix(0, 0)}
	for _, f := range advice.New(i.Facts()).Files {
		for line := range strings.Lines(f.Text) {
			if line[0] != '#' && strings.Contains(line, "ip_forward") {
				t.Errorf("%s: %s", f.Path, line)
			}
		}
	}
}
