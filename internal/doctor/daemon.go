package doctor

import (
	"context"
	"errors"
	"io/fs"

	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// checkDaemon queries the running daemon, which is in the sandbox of its unit.
func (p *checker) checkDaemon(ctx context.Context) {
	const area = "daemon"
	r, err := status.Query(ctx, p.cfg.Control.Socket)
	switch {
	case control.NoDaemon(err):
		p.add(Note, area, "running", "systemctl start ctwarden", "no: nobody answers at %s, and nothing is watched", p.cfg.Control.Socket)
		return
	case errors.Is(err, fs.ErrPermission):
		p.add(Note, area, "running", "sudo ctwarden doctor   # or be in the group ctwarden", "can't be asked by this user")
		return
	case err != nil:
		p.add(Wrong, area, "running", "systemctl status ctwarden", "does not answer: %v", err)
		return
	}
	p.add(Fine, area, "running", "", "since %s, mode %s", ui.Time(r.Since), r.Mode)
	if len(r.Tables) > 0 && !r.Tables[0].Assessment.Observation.Absent {
		if k := r.Tables[0].Assessment.Observation.Kernel; !k.MaxWritable || !k.TimeoutsWritable || !k.Entries {
			p.add(Wrong, area, "sandbox", "systemctl cat ctwarden   # AmbientCapabilities=CAP_NET_ADMIN, ProtectKernelTunables=no, AF_NETLINK",
				"the daemon may write max: %t, timeouts: %t, entries: %t", k.MaxWritable, k.TimeoutsWritable, k.Entries)
		} else {
			p.add(Fine, area, "sandbox", "", "the daemon may do all it needs")
		}
	}
	for what, trouble := range r.Errors {
		p.add(Wrong, area, what, "journalctl -u ctwarden", "%s", trouble)
	}
	for name, s := range r.Sources {
		if !s.Alive {
			p.add(Note, area, name, "journalctl -u ctwarden", "can't be read: %s", s.Error)
		}
	}
}
