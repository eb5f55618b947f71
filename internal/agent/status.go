package agent

import "github.com/ctwarden/ctwarden/internal/status"

// Status returns the state of the daemon.
func (s *Server) Status() *status.Status {
	r := &status.Status{
		Running: true, Version: s.version, Since: s.since, Status: s.agent.Status(),
		Changed: s.agent.kernel.Ledger().Entries,
		Audit:   status.NewAudit(s.log.Head(), s.log.Health()),
		Sources: map[string]status.Source{}, Unheard: s.unread,
	}
	for source, state := range s.agent.kernelLog.Sources() {
		r.Sources[string(source)] = status.NewSource(state)
	}
	if s.agent.namespaces != nil {
		r.Namespaces = s.agent.namespaces.Report()
	}
	return r
}
