package event

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPackage(t *testing.T) {
	var out strings.Builder
	p := Package{Out: &out, Name: "e2e:Debian 12"}
	for _, err := range []error{
		p.Check("install", true, 3*time.Second, ""), p.Check("remove", false, 0, "--- dpkg -r"), p.End(false, "the machine stopped"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"Action":"run","Package":"e2e:Debian 12","Test":"install"}
{"Action":"pass","Package":"e2e:Debian 12","Test":"install","Elapsed":3}
{"Action":"run","Package":"e2e:Debian 12","Test":"remove"}
{"Action":"output","Package":"e2e:Debian 12","Test":"remove","Output":"--- dpkg -r\n"}
{"Action":"fail","Package":"e2e:Debian 12","Test":"remove"}
{"Action":"output","Package":"e2e:Debian 12","Output":"the machine stopped\n"}
{"Action":"fail","Package":"e2e:Debian 12"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
