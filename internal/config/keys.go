package config

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// keys returns every key, in the order of the reference.
func keys() []key {
	return slices.Concat(
		[]key{mode("mode", "enforce: act. observe: record what would be done, change nothing.")},
		levelKeys(), samplingKeys(), budgetKeys(), raiseKeys(), hashKeys(), floorKeys(), entryKeys(),
		verifyKeys(), paceKeys(), watchKeys(), keepKeys(), protectKeys(),
	)
}

func levelKeys() []key {
	fill := func(path string, field func(*policy.LevelLimits) *conntrack.Permyriad, doc string) key {
		return number("levels."+path, share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return field(&c.Limits.Levels) }, doc)
	}
	span := func(path string, b bounds, field func(*policy.LevelLimits) *time.Duration, doc string) key {
		return number("levels."+path, duration, b,
			func(c *Config) *time.Duration { return field(&c.Limits.Levels) }, doc)
	}
	type limits = policy.LevelLimits
	return []key{
		fill("elevated.enter", func(l *limits) *conntrack.Permyriad { return &l.ElevatedEnter },
			"Fullness (entries / max) at which the level becomes elevated."),
		fill("elevated.leave", func(l *limits) *conntrack.Permyriad { return &l.ElevatedLeave },
			"Fullness below which it becomes calm, after calm_after."),
		span("elevated.forecast", between("1s", "1h"), func(l *limits) *time.Duration { return &l.ElevatedForecast },
			"Elevated too when the table will be full within this time."),
		fill("elevated.forecast_fill", func(l *limits) *conntrack.Permyriad { return &l.ElevatedForecastFill },
			"Least fullness for forecast to count."),
		span("elevated.calm_after", between("1s", "1d"), func(l *limits) *time.Duration { return &l.CalmAfter },
			"Time below leave before the level is calm."),
		fill("high.enter", func(l *limits) *conntrack.Permyriad { return &l.HighEnter },
			"Fullness at which the level becomes high."),
		fill("high.leave", func(l *limits) *conntrack.Permyriad { return &l.HighLeave },
			"Fullness below which it becomes elevated."),
		span("high.forecast", between("1s", "1h"), func(l *limits) *time.Duration { return &l.HighForecast },
			"High too when the table will be full within this time."),
		fill("exhausted.enter", func(l *limits) *conntrack.Permyriad { return &l.ExhaustedEnter },
			"Fullness at which the level becomes exhausted. The kernel's gc evicts from 95%."),
		fill("exhausted.leave", func(l *limits) *conntrack.Permyriad { return &l.ExhaustedLeave },
			"Fullness below which it becomes high."),
		fill("exhausted.near_max", func(l *limits) *conntrack.Permyriad { return &l.NearMax },
			"Fullness from which a log line, drop or early drop counts as this table's."),
	}
}

func samplingKeys() []key {
	every := func(path, least, most string, field func(*policy.SampleLimits) *time.Duration, doc string) key {
		return number("sampling."+path, duration, between(least, most),
			func(c *Config) *time.Duration { return field(&c.Limits.Sampling) }, doc)
	}
	return []key{
		every("calm", "100ms", "1m", func(l *policy.SampleLimits) *time.Duration { return &l.Calm },
			"Longest interval between two measurements."),
		every("high", "10ms", "10s", func(l *policy.SampleLimits) *time.Duration { return &l.High },
			"Longest interval at levels high and exhausted."),
		every("min", "10ms", "10s", func(l *policy.SampleLimits) *time.Duration { return &l.Min },
			"Shortest interval."),
	}
}

func budgetKeys() []key {
	return []key{
		number("budget.memory_total", share, between("0.01%", "50%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.TotalShare },
			"Share of all memory for a full table and its hash. The smaller of both shares counts."),
		// Entries are made in atomic context, where nothing can be reclaimed for
		// them, and are never swapped out.
		number("budget.memory_available", share, between("0.01%", "50%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.AvailableShare },
			"Share of available memory for the same."),
		// NF_CT_EXT_PREALLOC in nf_conntrack_extend.c is 128 bytes; an entry
		// with every extension takes 256.
		number("budget.extension", size, between("128B", "256B").orZero("no extensions"),
			func(c *Config) *uint32 { return &c.Limits.Budget.ExtensionBytes },
			"Memory of an entry's extensions. 128B is typical, 256B the worst case."),
		number("budget.max_pressure", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.MaxPressure },
			"Memory pressure (PSI) above which max and hash do not grow."),
	}
}

func raiseKeys() []key {
	return []key{
		// From Linux 7.0 the kernel takes 1 to INT_MAX.
		number("raise.ceiling", count, between("1", "2147483647").orZero("never raise"),
			func(c *Config) *uint64 { return &c.Limits.Raise.Ceiling },
			"Highest nf_conntrack_max, whatever the memory."),
		number("raise.min_step", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.MinStep },
			"Smallest raise planned, as a share of max."),
		number("raise.max_step", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.MaxStep },
			"Largest raise; 100% doubles max."),
		number("raise.headroom", duration, between("1s", "1h"),
			func(c *Config) *time.Duration { return &c.Limits.Raise.Headroom },
			"Time that a raised max should last at the present growth."),
		number("raise.useful_step", share, between("0.01%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.UsefulStep },
			"Smallest raise made when the budget limits it."),
	}
}

func hashKeys() []key {
	return []key{
		// Each entry stands in two chains. Since Linux 5.15 one of more than 50
		// to 79 fails a new connection (MIN_CHAINLEN): computed for a full
		// table, none at a ratio of 8, one in 5,000 at 16, one in 80 at 20 and
		// nearly all at 32.
		number("hash.max_ratio", count, between("1", "8").orZero("never resize"),
			func(c *Config) *uint64 { return &c.Limits.Hash.MaxRatio },
			"Highest max / buckets; above it the hash is enlarged in calm."),
		number("hash.storm_ratio", count, between("1", "16"),
			func(c *Config) *uint64 { return &c.Limits.Hash.StormRatio },
			"The max / buckets at which that is considered outside of calm too."),
		// After a second TCP sends again. A measure of less than a tenth of
		// the default would be a way around the bound.
		number("hash.max_stall", duration, between("1ms", "1s"),
			func(c *Config) *time.Duration { return &c.Limits.Hash.MaxStall },
			"Longest predicted stall of tracked packets."),
		number("hash.stall_per_entry", duration, between("30ns", "100µs"),
			func(c *Config) *time.Duration { return &c.Limits.Hash.StallPerEntry },
			"Predicted stall for each entry in the table."),
		number("hash.calm_fill", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Hash.CalmFill },
			"Fullness below which the hash may be resized in calm."),
		number("hash.min_interval", duration, between("1m", "365d"),
			func(c *Config) *time.Duration { return &c.Limits.Hash.MinInterval },
			"Least time between two resizes."),
	}
}

// floorKeys returns a key for each timeout that the policy may shorten.
func floorKeys() []key {
	var floors []key
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		if !policy.Shortens(t) {
			continue
		}
		floors = append(floors, number("timeouts.floors."+t.String(), seconds,
			between(leastFloor, "5d").orZero("never shorten"),
			func(c *Config) *uint32 { return &c.Limits.Shorten.Floors[t] },
			"Least value of "+t.Sysctl()+" after shortening."))
	}
	return floors
}

// leastFloor is the least floor that may be configured: a handshake or a close
// still completes.
const leastFloor = "10s"

// establishedFloor is RFC 5382, REQ-5: a NAT must not drop an established
// connection that was idle for less than 2 hours and 4 minutes.
const establishedFloor = "2h4m"

func entryKeys() []key {
	return []key{
		number("age.cap", share, between("0.01%", "100%").orZero("never age"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Age.Cap },
			"Largest share of the table aged in one action, to the floor of tcp_timeout_time_wait. Without that floor nothing is aged."),
		number("age.established_floor", duration, between(establishedFloor, "365d").orZero("never"),
			func(c *Config) *time.Duration { return &c.Limits.Age.EstablishedFloor },
			"Idle time after which an ESTABLISHED entry may be aged. Setting it may break idle connections. Do not set it where rules give connections shorter timeouts (nft ct timeout, iptables CT --timeout): they look idle for longer than they are."),
		number("delete.cap", share, between("0.01%", "50%").orZero("never delete"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Delete.Cap },
			"Largest share of the table deleted in one action. Only UNREPLIED entries are deleted."),
		number("delete.min_idle", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Delete.MinIdle },
			"Idle time after which an UNREPLIED entry may be deleted. An entry with a shorter timeout from a rule looks idle for longer: protect it."),
		number("delete.syn_sent_idle", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Delete.SynSentIdle },
			"The same in SYN_SENT. 15s covers the retransmits after 1, 2, 4 and 8 s."),
	}
}

func verifyKeys() []key {
	after := func(path string, b bounds, field func(*policy.VerifyLimits) *time.Duration, doc string) key {
		return number("verify."+path, duration, b,
			func(c *Config) *time.Duration { return field(&c.Limits.Verify) }, doc)
	}
	type limits = policy.VerifyLimits
	return []key{
		after("raise", between("10ms", "1h"), func(l *limits) *time.Duration { return &l.Raise },
			"Least time from a raise or resize to its verdict."),
		after("delete", between("10ms", "1h"), func(l *limits) *time.Duration { return &l.Delete },
			"The same after a deletion."),
		after("timeouts", between("1s", "1h"), func(l *limits) *time.Duration { return &l.Timeouts },
			"The same after shortening or ageing. The kernel's gc runs every 60 s or more often."),
		after("settle", between("10ms", "1h"), func(l *limits) *time.Duration { return &l.Settle },
			"Least time between actions of different kinds, unless packets are dropped."),
		number("verify.useful", share, between("0.01%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Verify.Useful },
			"Least change of fullness that counts as an effect."),
		number("verify.max_failures", count, between("1", "10"),
			func(c *Config) *uint8 { return &c.Limits.Verify.MaxFailures },
			"Actions without effect after which that kind is not used again in the incident."),
	}
}

// paceKeys returns the keys that slow ctwarden down or make it give back.
func paceKeys() []key {
	pause := func(path, doc string, field func(*policy.Limits) *time.Duration) key {
		return number(path, duration, between("1m", "30d"),
			func(c *Config) *time.Duration { return field(&c.Limits) }, doc)
	}
	return []key{
		number("restore_after.calm", duration, between("1s", "7d"),
			func(c *Config) *time.Duration { return &c.Limits.Restore.Calm },
			"Time of calm before shortened timeouts are restored."),
		number("restore_after.step", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Restore.Step },
			"Time between two steps; a step at most doubles a timeout."),
		number("breaker.acts", count, between("1", strconv.Itoa(policy.MaxActs)),
			func(c *Config) *uint8 { return &c.Limits.Breaker.Acts },
			"Most actions within window; the next one opens the breaker, and ctwarden pauses."),
		number("breaker.window", duration, between("1m", "7d"),
			func(c *Config) *time.Duration { return &c.Limits.Breaker.Window },
			"Time within which actions are counted."),
		pause("breaker.pause", "First pause, doubled each time.",
			func(l *policy.Limits) *time.Duration { return &l.Breaker.Pause }),
		pause("breaker.max_pause", "Longest pause.",
			func(l *policy.Limits) *time.Duration { return &l.Breaker.MaxPause }),
		pause("backoff.pause", "Time that a value is left alone after another program lowered it, doubled each time.",
			func(l *policy.Limits) *time.Duration { return &l.Backoff.Pause }),
		pause("backoff.max_pause", "Longest pause.",
			func(l *policy.Limits) *time.Duration { return &l.Backoff.MaxPause }),
		number("jitter.share", share, between("1%", "100%").orZero("no wait"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Jitter.Share },
			"Longest extra wait of a host, as a share, before actions that are not urgent, so that the hosts of a fleet do not act together. None from level high on."),
		number("jitter.start", duration, between("1s", "1h").orZero("no wait"),
			func(c *Config) *time.Duration { return &c.Limits.Jitter.Start },
			"Longest wait after the start before the hash is resized in calm."),
	}
}

func watchKeys() []key {
	return []key{
		choice("watch.kmsg", func(c *Config) *Switch { return &c.Watch.KMsg },
			"Read the kernel log from /dev/kmsg. auto: where it can be opened.", Auto, On, Off),
		choice("watch.journald", func(c *Config) *Switch { return &c.Watch.Journald },
			"Read the kernel log from the journal. auto: where there is one.", Auto, On, Off),
		choice("watch.netns", func(c *Config) *WatchScope { return &c.Watch.NetNS },
			"Network namespaces to watch: ctwarden's own, or all.", HostOnly, All),
		list("netns.include", namePattern, parsePattern, plainText, func(c *Config) *[]string { return &c.NetNS.Include },
			"Watch only namespaces with a matching name (ip netns, container, pod, unit, command) or number. Empty: all."),
		list("netns.exclude", namePattern, parsePattern, plainText, func(c *Config) *[]string { return &c.NetNS.Exclude },
			"Namespaces not to watch. Their entries still count towards the memory budget."),
		flag("netns.act", func(c *Config) *bool { return &c.NetNS.Act },
			"Shorten timeouts, age and delete in other namespaces too. Needs CAP_SYS_ADMIN and CAP_SYS_PTRACE."),
	}
}

// keepKeys returns the keys of what is kept on disk, of the socket and of the
// metrics.
func keepKeys() []key {
	const pathMax, socketMax = 4095, 107 // PATH_MAX and sun_path, less the final NUL
	return []key{
		path("audit.path", pathMax, func(c *Config) *string { return &c.Audit.Path },
			"The audit log. Without it and without a journal nothing is changed."),
		number("audit.max_size", size, between("64KiB", "1GiB"), func(c *Config) *uint64 { return &c.Audit.MaxSize },
			"Size at which a new segment begins."),
		number("audit.max_age", duration, between("1h", "365d").orZero("at any age"),
			func(c *Config) *time.Duration { return &c.Audit.MaxAge },
			"Age at which a new segment begins."),
		number("audit.keep_size", size, between("1MiB", "1TiB"), func(c *Config) *uint64 { return &c.Audit.KeepSize },
			"Total size above which the oldest segment is removed, except that of an open incident."),
		number("audit.keep_age", duration, between("1d", "3650d").orZero("for ever"),
			func(c *Config) *time.Duration { return &c.Audit.KeepAge },
			"Age at which a segment is removed, with the same exception."),
		choice("audit.mask", func(c *Config) *Mask { return &c.Audit.Mask },
			"Write addresses in full (none), as their network (net) or as a keyed hash (hash).",
			MaskNone, MaskNet, MaskHash),
		path("state.dir", pathMax, func(c *Config) *string { return &c.State.Dir },
			"Directory of the ledger: every changed value and its original."),
		path("control.socket", socketMax, func(c *Config) *string { return &c.Control.Socket },
			"Unix socket for commands and metrics."),
		address("metrics.listen", func(c *Config) *string { return &c.Metrics.Listen },
			"Address that also serves GET /metrics: without a password, unless web_config has one."),
		orNothing(path("metrics.web_config", pathMax, func(c *Config) *string { return &c.Metrics.WebConfig },
			"File with passwords and TLS for listen, in the format of Prometheus exporters."), ""),
		orNothing(path("metrics.textfile", pathMax, func(c *Config) *string { return &c.Metrics.Textfile },
			"File for node_exporter's textfile collector."), ".prom"),
	}
}

func protectKeys() []key {
	return []key{
		list("protect.cidr", "a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address",
			parseNetwork, netip.Prefix.String, func(c *Config) *[]netip.Prefix { return &c.Protect.Networks },
			"Never age or delete entries from or to these networks."),
		list("protect.ports", "a port between 1 and 65535, or a range such as 8000-8010",
			parsePorts, formatPorts, func(c *Config) *[]conntrack.PortRange { return &c.Protect.Ports },
			"Never age or delete entries from or to these ports."),
		list("protect.marks", "a mark such as 0x1, or a mark within its mask such as 0x1/0xff",
			parseMark, formatMark, func(c *Config) *[]conntrack.Mark { return &c.Protect.Marks },
			"Never age or delete entries with these connection marks."),
		list("protect.zones", "a zone between 0 and 65535",
			parse16, formatUint16, func(c *Config) *[]uint16 { return &c.Protect.Zones },
			"Never age or delete entries of these zones."),
	}
}
