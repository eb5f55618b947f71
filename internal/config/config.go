package config

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// DefaultPath is where the configuration file is, unless another path is
// given.
const DefaultPath = "/etc/ctwarden/ctwarden.yaml"

// A Config is the whole configuration. The zero Config is not valid and
// permits nothing; Default and Load return valid ones.
type Config struct {
	Limits  policy.Limits
	Watch   Watch
	NetNS   NetNS
	Audit   Audit
	State   State
	Control Control
	Metrics Metrics
	Protect conntrack.Protect

	// origins are where the values come from, by key.
	origins map[string]Origin
}

// Watch selects the sources of events and the namespaces.
type Watch struct {
	// KMsg and Journald are the sources of kernel messages.
	KMsg, Journald Switch
	NetNS          WatchScope
}

// A Switch turns something on or off.
type Switch string

// The switches.
const (
	// Auto is on where the machine has it.
	Auto Switch = "auto"
	// On makes it an error that the machine does not have it.
	On  Switch = "on"
	Off Switch = "off"
)

// A WatchScope selects the network namespaces that are watched.
type WatchScope string

// The reaches.
const (
	// HostOnly is the namespace that ctwarden itself runs in.
	HostOnly WatchScope = "host"
	// All is every namespace of the machine.
	All WatchScope = "all"
)

// NetNS configures what is done about other network namespaces, where
// Watch.NetNS is All.
type NetNS struct {
	// Include and Exclude are patterns, as of path.Match, for the names of
	// namespaces. An empty Include includes all; Exclude outranks it.
	Include, Exclude []string
	// Act permits acts in other namespaces than ctwarden's own.
	Act bool
}

// Audit configures where the audit log is kept and for how long.
type Audit struct {
	// Path is the file written to; closed segments lie beside it.
	Path string
	// MaxSize (bytes) and MaxAge bound one segment, KeepSize (bytes) and
	// KeepAge all of them together. An age of 0 bounds nothing.
	MaxSize  uint64
	MaxAge   time.Duration
	KeepSize uint64
	KeepAge  time.Duration
	Mask     Mask
}

// A Mask is how addresses are written to the audit log.
type Mask string

// The masks.
const (
	// MaskNone writes addresses as they are.
	MaskNone Mask = "none"
	// MaskNet keeps the network: /24 of IPv4, /64 of IPv6.
	MaskNet Mask = "net"
	// MaskHash writes a keyed hash: equal addresses stay recognisable.
	MaskHash Mask = "hash"
)

// State configures where ctwarden stores what it changed.
type State struct {
	Dir string
}

// Control configures where the daemon takes commands.
type Control struct {
	// Socket is the path of the unix socket.
	Socket string
}

// Metrics configures where metrics are written besides the control socket.
type Metrics struct {
	// Listen is an address and port for them; "" is none.
	Listen string
	// WebConfig is a file with passwords and TLS for Listen, as
	// exporter-toolkit reads it; "" is none.
	WebConfig string
	// Textfile is a file for node_exporter's textfile collector; "" is none.
	Textfile string
}

// Default returns the configuration that the daemon runs with unless
// configured otherwise. The limits are policy.Defaults.
func Default() Config {
	return Config{
		Limits: policy.Defaults(),
		Watch:  Watch{KMsg: Auto, Journald: Auto, NetNS: HostOnly},
		Audit: Audit{
			Path: "/var/log/ctwarden/audit.jsonl",
			// An incident of an hour with its flight recorder takes some
			// 4 MiB: a segment holds a few, the whole log dozens.
			MaxSize: 16 << 20, MaxAge: 7 * 24 * time.Hour,
			KeepSize: 256 << 20, KeepAge: 90 * 24 * time.Hour,
			Mask: MaskNone,
		},
		State:   State{Dir: "/var/lib/ctwarden"},
		Control: Control{Socket: "/run/ctwarden/control.sock"},
	}
}

// Origin returns where the value of a key comes from; the zero Origin, which
// is a default, if the key is unknown.
func (c *Config) Origin(path string) Origin { return c.origins[path] }
