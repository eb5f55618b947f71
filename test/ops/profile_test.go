package ops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/tablesim"
	"github.com/ctwarden/ctwarden/policy"
)

// roles are loads that are too much for the defaults, each of a role that has
// a profile.
var roles = [...]struct{ profile, load, scenario string }{
	{"gateway", "16 GiB, NAT: up to 15,000 connections a second, of two minutes each", `memory 16GiB available 12GiB
kernel 6.1
max 262144
buckets 262144
run 20m
noise 10%
start tcp 50000
at 0s: tcp_short 500/s
at 2m for 8m: tcp 500/s to 15000/s lasting 2m
`},
	{"webserver", "2 GiB, a sale: up to 20,000 short connections a second", `memory 2GiB available 1536MiB
kernel 6.1
max 131072
buckets 131072
run 40m
start tcp 2000
at 0s: tcp_short 600/s
at 2m for 20m: tcp_short 600/s to 20000/s
`},
	{"kubernetes", "4 GiB, pods ask the DNS: up to 15,000 questions a second", `memory 4GiB available 3GiB
kernel 6.1
max 131072
buckets 131072
run 20m
noise 10%
start tcp 5000
at 0s: dns 500/s
at 0s: tcp_short 100/s
at 2m for 10m: dns 500/s to 15000/s
`},
	{"vps", "1 GiB, a post goes round: up to 4,000 short connections a second", `memory 1GiB available 700MiB
kernel 6.1
max 16384
buckets 16384
run 40m
start tcp 300
at 0s: tcp_short 20/s
at 2m for 15m: tcp_short 20/s to 4000/s
`},
}

// TestProfilesBeatDefaults plays what each profile is for, and keeps the
// handbook's table of it.
func TestProfilesBeatDefaults(t *testing.T) {
	var b strings.Builder
	b.WriteString("| profile | load | nobody acts | defaults | profile |\n|---|---|--:|--:|--:|\n")
	for _, role := range roles {
		s, err := tablesim.Parse(role.profile, role.scenario)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{Path: root + "packaging/profiles/" + role.profile + ".yaml", Explicit: true})
		if err != nil {
			t.Fatal(err)
		}
		limits := policy.Defaults()
		without, with := tablesim.Run(s, &limits), tablesim.Run(s, &c.Limits)
		lost := func(l *tablesim.Losses) uint64 { return l.Packets() + l.EarlyDropped }
		nobody, defaults, profile := lost(&without.Nothing.Losses), lost(&without.Policy.Losses), lost(&with.Policy.Losses)
		if profile >= defaults || profile > nobody/1000 {
			t.Errorf("%s: %d lost, %d with the defaults, %d if nobody acts", role.profile, profile, defaults, nobody)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", role.profile, role.load, grouped(nobody), grouped(defaults), grouped(profile))
	}
	checkTable(t, "profiles", b.String())
}
