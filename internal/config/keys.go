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
		[]key{mode("mode", "Whether decisions are carried out (enforce) or only recorded, marked would (observe).")},
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
			"Fullness (entries / max) from which the level is elevated."),
		fill("elevated.leave", func(l *limits) *conntrack.Permyriad { return &l.ElevatedLeave },
			"Fullness below which the level becomes calm, after calm_after."),
		span("elevated.forecast", between("1s", "1h"), func(l *limits) *time.Duration { return &l.ElevatedForecast },
			"Elevated too if the table is full within this time at the present rate."),
		fill("elevated.forecast_fill", func(l *limits) *conntrack.Permyriad { return &l.ElevatedForecastFill },
			"Fullness from which forecast counts."),
		span("elevated.calm_after", between("1s", "1d"), func(l *limits) *time.Duration { return &l.CalmAfter },
			"How long the fullness must stay below leave before the level is calm again."),
		fill("high.enter", func(l *limits) *conntrack.Permyriad { return &l.HighEnter },
			"Fullness from which the level is high."),
		fill("high.leave", func(l *limits) *conntrack.Permyriad { return &l.HighLeave },
			"Fullness below which the level is elevated again."),
		span("high.forecast", between("1s", "1h"), func(l *limits) *time.Duration { return &l.HighForecast },
			"High too if the table is full within this time at the present rate."),
		fill("exhausted.enter", func(l *limits) *conntrack.Permyriad { return &l.ExhaustedEnter },
			"Fullness from which the level is exhausted. The kernel's own gc starts to evict at 95%."),
		fill("exhausted.leave", func(l *limits) *conntrack.Permyriad { return &l.ExhaustedLeave },
			"Fullness below which the level is high again."),
		fill("exhausted.near_max", func(l *limits) *conntrack.Permyriad { return &l.NearMax },
			"Fullness from which a table full line, a drop or an early drop means that this table is full."),
	}
}

func samplingKeys() []key {
	every := func(path, least, most string, field func(*policy.SampleLimits) *time.Duration, doc string) key {
		return number("sampling."+path, duration, between(least, most),
			func(c *Config) *time.Duration { return field(&c.Limits.Sampling) }, doc)
	}
	return []key{
		every("calm", "100ms", "1m", func(l *policy.SampleLimits) *time.Duration { return &l.Calm },
			"Longest time between two looks at the table."),
		every("high", "10ms", "10s", func(l *policy.SampleLimits) *time.Duration { return &l.High },
			"Longest time between two looks from level high up."),
		every("min", "10ms", "10s", func(l *policy.SampleLimits) *time.Duration { return &l.Min },
			"Shortest time between two looks, however near the limit."),
	}
}

func budgetKeys() []key {
	return []key{
		number("budget.memory_total", share, between("0.01%", "50%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.TotalShare },
			"Share of the machine's memory that a full table and its hash may take. The smaller of the two shares counts."),
		// Entries are made in atomic context, where nothing can be reclaimed for
		// them, and are never swapped out.
		number("budget.memory_available", share, between("0.01%", "50%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.AvailableShare },
			"Share of the available memory that a full table and its hash may take."),
		// NF_CT_EXT_PREALLOC in nf_conntrack_extend.c is 128 bytes; an entry
		// with every extension takes 256.
		number("budget.extension", size, between("128B", "256B").orZero("no extensions"),
			func(c *Config) *uint32 { return &c.Limits.Budget.ExtensionBytes },
			"Memory that an entry takes beyond its slab object. 128B is typical; 256B is the worst case."),
		number("budget.max_pressure", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Budget.MaxPressure },
			"Memory pressure (PSI) above which nothing that costs memory is done."),
	}
}

func raiseKeys() []key {
	return []key{
		// From Linux 7.0 the kernel takes 1 to INT_MAX.
		number("raise.ceiling", count, between("1", "2147483647").orZero("never raise"),
			func(c *Config) *uint64 { return &c.Limits.Raise.Ceiling },
			"The nf_conntrack_max that is never passed, whatever the memory, in entries."),
		number("raise.min_step", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.MinStep },
			"Smallest raise that is aimed at, as a share of the present max."),
		number("raise.max_step", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.MaxStep },
			"Largest raise, as a share of the present max; 100% doubles it."),
		number("raise.headroom", duration, between("1s", "1h"),
			func(c *Config) *time.Duration { return &c.Limits.Raise.Headroom },
			"How long the raised max should last at the present rate."),
		number("raise.useful_step", share, between("0.01%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Raise.UsefulStep },
			"Smallest raise still worth making when the budget cuts it short."),
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
			"The max / buckets that is kept by resizing the hash when calm."),
		number("hash.storm_ratio", count, between("1", "16"),
			func(c *Config) *uint64 { return &c.Limits.Hash.StormRatio },
			"The max / buckets from which a resize is considered in a storm too."),
		// After a second TCP sends again. A measure of less than a tenth of
		// the default would be a way around the bound.
		number("hash.max_stall", duration, between("1ms", "1s"),
			func(c *Config) *time.Duration { return &c.Limits.Hash.MaxStall },
			"Longest stall of tracked packets, as predicted, that a resize may cause."),
		number("hash.stall_per_entry", duration, between("30ns", "100µs"),
			func(c *Config) *time.Duration { return &c.Limits.Hash.StallPerEntry },
			"Stall that a resize causes for each entry in the table, to predict it."),
		number("hash.calm_fill", share, between("1%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Hash.CalmFill },
			"Fullness below which the hash may be resized when calm."),
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
			"Least value that "+t.Sysctl()+" may be shortened to."))
	}
	return floors
}

// leastFloor is the least floor that may be asked for: a handshake or a close
// still completes.
const leastFloor = "10s"

// establishedFloor is RFC 5382, REQ-5: a NAT must not drop an established
// connection that was idle for less than 2 hours and 4 minutes.
const establishedFloor = "2h4m"

func entryKeys() []key {
	return []key{
		number("age.cap", share, between("0.01%", "100%").orZero("never age"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Age.Cap },
			"Largest share of the table whose remaining time is lowered in one act, to the floor of tcp_timeout_time_wait; without that floor nothing is aged."),
		number("age.established_floor", duration, between(establishedFloor, "365d").orZero("never"),
			func(c *Config) *time.Duration { return &c.Limits.Age.EstablishedFloor },
			"How long an ESTABLISHED entry must have been idle to be aged. Setting it gives up the promise that such entries are left alone. Leave it where rules give connections a shorter timeout of their own (nft ct timeout, iptables CT --timeout): they look idle for longer than they are."),
		number("delete.cap", share, between("0.01%", "50%").orZero("never delete"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Delete.Cap },
			"Largest share of the table deleted in one act. Only UNREPLIED entries are ever deleted."),
		number("delete.min_idle", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Delete.MinIdle },
			"How long an UNREPLIED entry must have been idle to be deleted. One to which a rule gives a shorter timeout of its own looks idle for longer, by the difference: protect.ports and the like spare it."),
		number("delete.syn_sent_idle", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Delete.SynSentIdle },
			"The same for TCP in SYN_SENT. 15s covers the retransmits after 1, 2, 4 and 8 s."),
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
			"How long after a raise or a resize its effect is judged, at the earliest."),
		after("delete", between("10ms", "1h"), func(l *limits) *time.Duration { return &l.Delete },
			"The same after deleting."),
		after("timeouts", between("1s", "1h"), func(l *limits) *time.Duration { return &l.Timeouts },
			"The same after shortening or ageing. The kernel's gc comes by every 60 s at the latest."),
		after("settle", between("10ms", "1h"), func(l *limits) *time.Duration { return &l.Settle },
			"Least time between two acts of different kinds, unless packets are being dropped."),
		number("verify.useful", share, between("0.01%", "100%"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Verify.Useful },
			"Change of fullness that counts as an effect."),
		number("verify.max_failures", count, between("1", "10"),
			func(c *Config) *uint8 { return &c.Limits.Verify.MaxFailures },
			"How many acts of a kind without effect ban that kind for the rest of the incident."),
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
			"How long the level must have been calm before shortened timeouts are given back."),
		number("restore_after.step", duration, between("1s", "1d"),
			func(c *Config) *time.Duration { return &c.Limits.Restore.Step },
			"Time between two steps of giving back; each step doubles a timeout at most."),
		number("breaker.acts", count, between("1", strconv.Itoa(policy.MaxActs)),
			func(c *Config) *uint8 { return &c.Limits.Breaker.Acts },
			"Most acts within window; the next one trips the breaker: hands off."),
		number("breaker.window", duration, between("1m", "7d"),
			func(c *Config) *time.Duration { return &c.Limits.Breaker.Window },
			"The time within which acts are counted."),
		pause("breaker.pause", "How long hands off, doubled each time.",
			func(l *policy.Limits) *time.Duration { return &l.Breaker.Pause }),
		pause("breaker.max_pause", "Longest that the doubled pause becomes.",
			func(l *policy.Limits) *time.Duration { return &l.Breaker.MaxPause }),
		pause("backoff.pause", "How long a value that somebody else lowered is left alone, doubled each time.",
			func(l *policy.Limits) *time.Duration { return &l.Backoff.Pause }),
		pause("backoff.max_pause", "Longest that the doubled pause becomes.",
			func(l *policy.Limits) *time.Duration { return &l.Backoff.MaxPause }),
		number("jitter.share", share, between("1%", "100%").orZero("put nothing off"),
			func(c *Config) *conntrack.Permyriad { return &c.Limits.Jitter.Share },
			"By how much longer a host waits at most before it does what nothing hurries, so that the hosts of a fleet do not do it together. Each host has its own part of it. At level high and above nothing is put off."),
		number("jitter.start", duration, between("1s", "1h").orZero("put nothing off"),
			func(c *Config) *time.Duration { return &c.Limits.Jitter.Start },
			"For how long at most the hash is not resized in calm after the start, for the same reason."),
	}
}

func watchKeys() []key {
	return []key{
		choice("watch.kmsg", func(c *Config) *Switch { return &c.Watch.KMsg },
			"Whether kernel messages are read from /dev/kmsg; auto: where it can be opened.", Auto, On, Off),
		choice("watch.journald", func(c *Config) *Switch { return &c.Watch.Journald },
			"Whether kernel messages are read from the journal; auto: where there is one.", Auto, On, Off),
		choice("watch.netns", func(c *Config) *Reach { return &c.Watch.NetNS },
			"Which network namespaces are watched: ctwarden's own (host) or all of them.", HostOnly, All),
		list("netns.include", namePattern, parsePattern, plainText, func(c *Config) *[]string { return &c.NetNS.Include },
			"Of the other namespaces, only those are watched one by one of which a name fits: of ip netns, container, pod, unit, command, or the number. Empty: all."),
		list("netns.exclude", namePattern, parsePattern, plainText, func(c *Config) *[]string { return &c.NetNS.Exclude },
			"Namespaces that are not watched one by one. Their entries count towards the memory budget all the same."),
		flag("netns.act", func(c *Config) *bool { return &c.NetNS.Act },
			"Whether timeouts are shortened and entries aged and deleted in other namespaces than ctwarden's own, too. It needs CAP_SYS_ADMIN and CAP_SYS_PTRACE."),
	}
}

// keepKeys returns the keys of what is kept on disk, of the socket and of the
// metrics.
func keepKeys() []key {
	const pathMax, socketMax = 4095, 107 // PATH_MAX and sun_path, less the final NUL
	return []key{
		path("audit.path", pathMax, func(c *Config) *string { return &c.Audit.Path },
			"The audit log. Without one, and without a journal, nothing is changed."),
		number("audit.max_size", size, between("64KiB", "1GiB"), func(c *Config) *uint64 { return &c.Audit.MaxSize },
			"Size from which a segment of the audit log is closed and a new one begun."),
		number("audit.max_age", duration, between("1h", "365d").orZero("at any age"),
			func(c *Config) *time.Duration { return &c.Audit.MaxAge },
			"Age from which a segment is closed."),
		number("audit.keep_size", size, between("1MiB", "1TiB"), func(c *Config) *uint64 { return &c.Audit.KeepSize },
			"Size of all segments above which the oldest is removed; never one of an open incident."),
		number("audit.keep_age", duration, between("1d", "3650d").orZero("for ever"),
			func(c *Config) *time.Duration { return &c.Audit.KeepAge },
			"Age from which a segment is removed; never one of an open incident."),
		choice("audit.mask", func(c *Config) *Mask { return &c.Audit.Mask },
			"How addresses are written: as they are (none), their network (net), a keyed hash (hash).",
			MaskNone, MaskNet, MaskHash),
		path("state.dir", pathMax, func(c *Config) *string { return &c.State.Dir },
			"Directory of the ledger, which remembers every value that was changed."),
		path("control.socket", socketMax, func(c *Config) *string { return &c.Control.Socket },
			"Unix socket on which the daemon takes commands, and tells its metrics."),
		address("metrics.listen", func(c *Config) *string { return &c.Metrics.Listen },
			"Address on which GET /metrics is answered as well: for whoever can reach it, unless web_config names a file with passwords."),
		orNothing(path("metrics.web_config", pathMax, func(c *Config) *string { return &c.Metrics.WebConfig },
			"File with passwords and TLS for listen, in the format of the exporters of Prometheus."), ""),
		orNothing(path("metrics.textfile", pathMax, func(c *Config) *string { return &c.Metrics.Textfile },
			"File that is kept up to date for node_exporter's textfile collector; its name ends in .prom."), ".prom"),
	}
}

func protectKeys() []key {
	return []key{
		list("protect.cidr", "a network without host bits, such as 10.0.0.0/8 or 2001:db8::/32, or an address",
			parseNetwork, netip.Prefix.String, func(c *Config) *[]netip.Prefix { return &c.Protect.Networks },
			"Entries from or to these networks are never aged and never deleted."),
		list("protect.ports", "a port between 1 and 65535, or a range such as 8000-8010",
			parsePorts, formatPorts, func(c *Config) *[]conntrack.PortRange { return &c.Protect.Ports },
			"Entries from or to these ports are never aged and never deleted."),
		list("protect.marks", "a mark such as 0x1, or a mark within its mask such as 0x1/0xff",
			parseMark, formatMark, func(c *Config) *[]conntrack.Mark { return &c.Protect.Marks },
			"Entries with these connection marks are never aged and never deleted."),
		list("protect.zones", "a zone between 0 and 65535",
			parse16, formatUint16, func(c *Config) *[]uint16 { return &c.Protect.Zones },
			"Entries of these connection tracking zones are never aged and never deleted."),
	}
}
