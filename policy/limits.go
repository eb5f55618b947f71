package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A Mode sets whether decisions are carried out. The zero Mode is Off.
type Mode uint8

// The modes.
const (
	// Off permits nothing: the zero Limits are safe.
	Off Mode = iota
	// Observe decides and records, marked "would", and changes nothing.
	Observe
	// Enforce decides, records and acts.
	Enforce
)

var modeNames = []string{"off", "observe", "enforce"}

// String returns the name used in the configuration.
func (m Mode) String() string { return nameOf(modeNames, m) }

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = parseName[Mode](modeNames, text, "mode")
	return err
}

// Limits bound every decision. The zero Limits permit nothing; Defaults are
// what the daemon runs with. A share is in hundredths of a percent.
type Limits struct {
	Mode Mode `json:"mode"`
	// NoHostWide turns actions that reach beyond one namespace (max, hash)
	// into "would": the default of the drill.
	NoHostWide bool `json:"no_host_wide,omitempty"`

	Levels   LevelLimits   `json:"levels"`
	Sampling SampleLimits  `json:"sampling"`
	Budget   BudgetLimits  `json:"budget"`
	Raise    RaiseLimits   `json:"raise"`
	Hash     HashLimits    `json:"hash"`
	Shorten  ShortenLimits `json:"shorten"`
	Age      AgeLimits     `json:"age"`
	Delete   DeleteLimits  `json:"delete"`
	Verify   VerifyLimits  `json:"verify"`
	Restore  RestoreLimits `json:"lease"`
	Breaker  BreakerLimits `json:"breaker"`
	Backoff  BackoffLimits `json:"yield"`
	// Jitter is left out when zero: limits recorded before there was one keep
	// their digest.
	Jitter JitterLimits `json:"spread,omitzero"`
}

// LevelLimits are the thresholds of the levels: a level is entered at Enter
// and left below Leave, or entered because the forecast is full within Soon.
type LevelLimits struct {
	ElevatedEnter conntrack.Permyriad `json:"elevated_enter"`
	ElevatedLeave conntrack.Permyriad `json:"elevated_leave"`
	// ElevatedForecast enters at a fullness of at least ElevatedForecastFill.
	ElevatedForecast     time.Duration       `json:"elevated_soon_ns"`
	ElevatedForecastFill conntrack.Permyriad `json:"elevated_soon_fill"`
	// CalmAfter is how long the fullness stays below ElevatedLeave before
	// the level is calm again.
	CalmAfter time.Duration `json:"calm_after_ns"`

	HighEnter    conntrack.Permyriad `json:"high_enter"`
	HighLeave    conntrack.Permyriad `json:"high_leave"`
	HighForecast time.Duration       `json:"high_soon_ns"`

	ExhaustedEnter conntrack.Permyriad `json:"exhausted_enter"`
	ExhaustedLeave conntrack.Permyriad `json:"exhausted_leave"`
	// NearMax is the fullness from which a table full line, a drop or an
	// early drop is taken for a sign that this table is full. Below it they
	// have another cause.
	NearMax conntrack.Permyriad `json:"near_max"`
}

// SampleLimits are the intervals between two observations.
type SampleLimits struct {
	Calm time.Duration `json:"calm_ns"`
	High time.Duration `json:"high_ns"`
	Min  time.Duration `json:"min_ns"`
}

// BudgetLimits bound the memory that the table may come to need: the entries
// of all namespaces at max, and the hash.
type BudgetLimits struct {
	// TotalShare and AvailableShare are shares of MemTotal and of
	// MemAvailable (with what the entries already take added back); the
	// smaller one counts.
	TotalShare     conntrack.Permyriad `json:"total_share"`
	AvailableShare conntrack.Permyriad `json:"available_share"`
	// ExtensionBytes is what an entry takes beyond its slab object. The
	// kernel allocates 128 bytes as soon as there is any extension, 256 at
	// the most (NF_CT_EXT_PREALLOC in nf_conntrack_extend.c).
	ExtensionBytes uint32 `json:"extension_bytes"`
	// MaxPressure is the PSI memory pressure above which nothing that costs
	// memory is done.
	MaxPressure conntrack.Permyriad `json:"max_pressure"`
}

// RaiseLimits bound raising nf_conntrack_max.
type RaiseLimits struct {
	// Ceiling is never passed, whatever the memory; 0 forbids raising.
	Ceiling uint64 `json:"ceiling"`
	// MinStep and MaxStep bound one raise, as shares of the present max.
	MinStep conntrack.Permyriad `json:"min_step"`
	MaxStep conntrack.Permyriad `json:"max_step"`
	// Headroom is how long the raised max should last at the present rate.
	Headroom time.Duration `json:"headroom_ns"`
	// UsefulStep is the smallest raise worth making when the budget cuts
	// the step short.
	UsefulStep conntrack.Permyriad `json:"useful_step"`
}

// HashLimits bound resizing the hash table. A resize holds all bucket locks
// while it moves every entry: tracked packets wait.
type HashLimits struct {
	// MaxRatio is the max/buckets to keep, and 0 forbids resizing. StormRatio
	// is the one from which a resize is considered even in a storm.
	MaxRatio   uint64 `json:"max_ratio"`
	StormRatio uint64 `json:"storm_ratio"`
	// MaxStall bounds the predicted stall, StallPerEntry its measure: 302 ms
	// at 1,000,000 entries on Linux 6.18.
	MaxStall      time.Duration `json:"max_stall_ns"`
	StallPerEntry time.Duration `json:"stall_per_entry_ns"`
	// CalmFill is the fullness below which a resize may be made in calm,
	// MinInterval the least time between two.
	CalmFill    conntrack.Permyriad `json:"calm_fill"`
	MinInterval time.Duration       `json:"min_interval_ns"`
}

// ShortenLimits bound shortening timeouts.
type ShortenLimits struct {
	// Floors are the least seconds each timeout may be shortened to; a
	// timeout with floor 0 is never touched.
	Floors conntrack.Timeouts `json:"floors"`
}

// AgeLimits bound lowering the remaining time of idle entries.
type AgeLimits struct {
	// Cap is the largest share of the table aged in one act; 0 forbids it.
	Cap conntrack.Permyriad `json:"cap"`
	// EstablishedFloor is the least idle time of an ESTABLISHED entry that
	// may be aged. 0, the default, means never.
	EstablishedFloor time.Duration `json:"established_floor_ns"`
}

// DeleteLimits bound deleting unreplied entries.
type DeleteLimits struct {
	// Cap is the largest share of the table deleted in one act; 0 forbids it.
	Cap conntrack.Permyriad `json:"cap"`
	// MinIdle is how long an entry must have been idle, SynSentIdle the same
	// for TCP in SYN_SENT, which covers the retransmits after 1, 2, 4 and 8 s.
	MinIdle     time.Duration `json:"min_idle_ns"`
	SynSentIdle time.Duration `json:"syn_sent_idle_ns"`
}

// VerifyLimits set when the effect of an act can be judged.
type VerifyLimits struct {
	// Raise is the least time after a raise or a resize, Delete after a
	// deletion, Timeouts after shortening or ageing: expired entries linger
	// until the kernel's gc comes by, every 60 s at the latest.
	Raise    time.Duration `json:"raise_ns"`
	Delete   time.Duration `json:"delete_ns"`
	Timeouts time.Duration `json:"timeouts_ns"`
	// Settle is the least time between two acts of different kinds, unless
	// packets are being dropped.
	Settle time.Duration `json:"settle_ns"`
	// Useful is the change of fullness that counts as an effect.
	Useful conntrack.Permyriad `json:"useful"`
	// MaxFailures is how many acts of a kind without effect ban that kind for
	// the rest of the incident.
	MaxFailures uint8 `json:"strikes"`
}

// RestoreLimits set when a shortened timeout is restored.
type RestoreLimits struct {
	// Calm is how long the level must have been calm, Step the time between
	// two steps; each step doubles the timeout at most.
	Calm time.Duration `json:"calm_ns"`
	Step time.Duration `json:"step_ns"`
}

// BreakerLimits bound the number of acts: Acts within Window, then no action
// for Pause, doubled each time up to MaxPause. Acts is at most MaxActs.
type BreakerLimits struct {
	Acts     uint8         `json:"acts"`
	Window   time.Duration `json:"window_ns"`
	Pause    time.Duration `json:"pause_ns"`
	MaxPause time.Duration `json:"max_pause_ns"`
}

// BackoffLimits set for how long ctwarden leaves alone a knob that another
// program lowered: Pause, doubled each time up to MaxPause.
type BackoffLimits struct {
	Pause    time.Duration `json:"pause_ns"`
	MaxPause time.Duration `json:"max_pause_ns"`
}

// MaxActs is the most acts that a breaker can count.
const MaxActs = 64

// Defaults returns the limits that the daemon runs with unless configured
// otherwise. Every number stands here and nowhere else.
func Defaults() Limits {
	return Limits{
		Mode: Enforce,
		Levels: LevelLimits{
			// 75 % is where the widely used node_exporter alert warns; 60 %
			// is the lower watermark of commercial firewalls and of pf.
			ElevatedEnter: 7500, ElevatedLeave: 6000,
			ElevatedForecast: 120 * time.Second, ElevatedForecastFill: 5000,
			CalmAfter: 5 * time.Minute,
			HighEnter: 8500, HighLeave: 8000, HighForecast: 30 * time.Second,
			// 95 % is where the kernel's own gc starts to evict.
			ExhaustedEnter: 9500, ExhaustedLeave: 9000,
			NearMax: 9000,
		},
		Sampling: SampleLimits{
			Calm: time.Second, High: 250 * time.Millisecond, Min: 50 * time.Millisecond,
		},
		Budget: BudgetLimits{
			TotalShare: 300, AvailableShare: 2000,
			ExtensionBytes: 128, MaxPressure: 1000,
		},
		Raise: RaiseLimits{
			// 4,194,304 entries are what a 64 GB host needs in the worst
			// case known from the field; the administrator may set more.
			Ceiling: 1 << 22,
			MinStep: 5000, MaxStep: 10000, Headroom: time.Minute, UsefulStep: 500,
		},
		Hash: HashLimits{
			MaxRatio: conntrack.EntriesPerBucket, StormRatio: 2 * conntrack.EntriesPerBucket,
			MaxStall: 50 * time.Millisecond, StallPerEntry: 302 * time.Nanosecond,
			CalmFill: 5000, MinInterval: 24 * time.Hour,
		},
		Shorten: ShortenLimits{Floors: conntrack.Timeouts{
			conntrack.TCPSynSent: 30, conntrack.TCPSynRecv: 30, conntrack.TCPFinWait: 30,
			conntrack.TCPTimeWait: 30, conntrack.UDP: 20,
		}},
		Age:    AgeLimits{Cap: 2000},
		Delete: DeleteLimits{Cap: 2000, MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second},
		Verify: VerifyLimits{
			Raise: 100 * time.Millisecond, Delete: 100 * time.Millisecond,
			Timeouts: 2 * time.Minute, Settle: 15 * time.Second,
			Useful: 100, MaxFailures: 2,
		},
		Restore: RestoreLimits{Calm: 10 * time.Minute, Step: time.Minute},
		Breaker: BreakerLimits{Acts: 12, Window: time.Hour, Pause: 30 * time.Minute, MaxPause: 24 * time.Hour},
		Backoff: BackoffLimits{Pause: time.Hour, MaxPause: 24 * time.Hour},
		Jitter:  JitterLimits{Share: 2500, Start: time.Minute},
	}
}

// Digest returns the SHA-256 of the limits in hexadecimal: records of
// decisions name by it the limits that they were made under.
func (l *Limits) Digest() string {
	text, err := json.Marshal(l)
	if err != nil {
		// Limits hold numbers and enumerations only.
		panic("policy: limits are not JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
