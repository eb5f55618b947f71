# Tests of the second boot, sourced by guest.sh: floods while something else is wrong, too. Each begins with a calm table,
# the kernel's own values, and a configuration and a daemon of its own.

# Leases and calm take minutes by default; here they are to be seen to their end.
pace='mode: enforce
levels: {elevated: {calm_after: 3s}}
restore_after: {calm: 5s, step: 1s}
verify: {timeouts: 3s}
breaker: {acts: 64}
raise: {ceiling: 16384}
'

drained() { [[ $(value nf_conntrack_count) -lt 1000 ]]; }

# fresh_daemon [TEXT]: a calm table, the kernel's own values and a daemon whose configuration TEXT is added to.
fresh_daemon() {
	wait_for 120 drained && ctwarden revert --force --pause 0s --reason 'a test ends' || return
	printf '%s%s\n' "$pace" "${1:-}" >/etc/ctwarden/ctwarden.yaml
	systemctl restart $unit && wait_for 30 active && ctwarden resume --reason 'a test begins' &&
		wait_for 30 unchanged
}
unchanged() { [[ $(value nf_conntrack_max) == "$plain_max" && $(value nf_conntrack_udp_timeout) == "$plain_udp" ]]; }
raised() { [[ $(value nf_conntrack_max) -gt $plain_max ]]; }
shortened() { [[ $(value nf_conntrack_udp_timeout) -lt $plain_udp ]]; }
deleted() { recorded '"kind":"outcome".*"type":"delete_entries".*"ok":true.*"changed":[1-9]'; }
journal_time() { sed 's/T/ /; s/Z/ UTC/' <<<"$since"; }
# printed EXPRESSION: the daemon wrote such a line to its standard error since the mark.
printed() { journalctl -b -u $unit --no-pager -o cat --since "$(journal_time)" | grep -E "$1" >/dev/null; }
# mirrored KIND: a record of the kind is in the journal since the mark.
mirrored() { journalctl -b -t ctwarden --no-pager -o json --since "$(journal_time)" "CTWARDEN_KIND=$1" | grep . >/dev/null; }
received_from() { recorded "\"kind\":\"signal\".*\"source\":\"$1\""; }

# store auto|persistent|volatile: where journald keeps its files.
store() {
	mkdir -p /etc/systemd/journald.conf.d
	printf '[Journal]\nStorage=%s\n' "$1" >/etc/systemd/journald.conf.d/e2e.conf
	systemctl restart systemd-journald && journalctl --flush && sleep 1
}
only_journal() { ctwarden status --json | grep '"journald": {' && ! ctwarden status --json | grep '"kmsg": {'; }
renew_journal() { journalctl --sync && journalctl --rotate && journalctl --vacuum-size=1M && systemctl restart systemd-journald; }

# storm_in_the_journal STORAGE: the journal is the only source.
storm_in_the_journal() {
	local s="journal $1"
	check "$s: set up" store "$1"
	check "$s: watch.kmsg off, watch.journald on" fresh_daemon 'watch: {kmsg: off, journald: on}'
	check "$s: it is the only source" wait_for 20 only_journal
	mark
	flood 3000
	check "$s: the flood is received through it" wait_for 60 received_from journald
	check "$s: and through nothing else" not received_from kmsg
	check "$s: max is raised, in the kernel and the record" wait_for 60 eval 'raised && did raise_max'
	check "$s: unreplied entries are deleted" wait_for 90 deleted
	check "$s: timeouts are shortened, in the kernel and the record" wait_for 90 eval 'shortened && did shorten_timeout'
	check "$s: nothing is denied" not denied
	check "$s: rotate, vacuum and restart it in the flood" renew_journal
	mark
	check "$s: lines are received again" wait_for 90 received_from journald
	check "$s: and takes records again" wait_for 60 mirrored signal
	calm
	mark
	check "$s: timeouts are given back, in the kernel and the record" wait_for 180 eval '! shortened && did restore_timeout'
	check "$s: max stays raised" raised
}

# A small filesystem under the audit log, which is full but for a few records.
small_log() {
	systemctl stop $unit && mount -t tmpfs -o "size=64k,mode=0750,uid=$(id -u ctwarden),gid=$(id -g ctwarden)" tmpfs /var/log/ctwarden &&
		systemctl start $unit && wait_for 30 active && not dd if=/dev/zero of=/var/log/ctwarden/filler bs=4k status=none
	df /var/log/ctwarden | tail -1
}
no_space() { systemctl reload $unit; ctwarden status --json | grep -i 'no space'; }
journal_units='systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service'
stop_journal() {
	systemctl stop $journal_units # of which one may not be there
	[[ $(systemctl is-active systemd-journald) != active ]]
}
start_journal() {
	systemctl start $journal_units
	wait_for 10 systemctl is-active systemd-journald
}
held_for() { ctwarden status --json | grep "\"held\": \"$1\""; }
is_full() { (($(value nf_conntrack_count) * 100 >= $(value nf_conntrack_max) * 95)); }
same_daemon() { [[ $(pid) == "$1" ]]; }

# gap_recorded: perhaps in two records, for a short one still finds room where a long one does not.
gap_recorded() {
	local gaps
	gaps=$(grep -E '"kind":"gap".*"reason":"not_durable"' /var/log/ctwarden/audit.jsonl)
	echo "$gaps"
	grep -E '"lost":[1-9]' <<<"$gaps" && grep -E '"from":[1-9][0-9]*,"to":[1-9]' <<<"$gaps"
}

# storm_without_a_record: what docs/audit-log.md promises of a file that can't be written. With the journal there is a
# record and it acts; without it there is none and it holds.
storm_without_a_record() {
	local before
	check "no record: a fresh daemon" fresh_daemon
	check "no record: the audit log is on a full disk" small_log
	check "no record: status reports it" wait_for 30 no_space
	check "no record: stop journald, too" stop_journal
	before=$(pid)
	mark
	flood 3000
	check "no record: the table is full" wait_for 60 is_full
	check "no record: it holds, and reports why" wait_for 30 held_for no_audit
	check "no record: nothing was changed" unchanged
	check "no record: the daemon outlives journald" same_daemon "$before"
	check "journal only: journald is back" start_journal
	check "journal only: max is raised" wait_for 60 raised
	check "journal only: with a record in the journal" wait_for 30 mirrored outcome
	check "journal only: and none in the file" not grep '"kind":"outcome"' /var/log/ctwarden/audit.jsonl
	rm -f /var/log/ctwarden/filler
	check "room again: the file goes on" wait_for 60 grep '"kind":"gap"' /var/log/ctwarden/audit.jsonl
	check "room again: the gap counts what is nowhere, and what is in the journal" wait_for 60 gap_recorded
	check "room again: the chain is whole" verified
	calm
	systemctl stop $unit && umount /var/log/ctwarden && systemctl start $unit
	check "the log before goes on" wait_for 30 active
}

# storm_on_a_full_disk: the ledger can't be written, either, and without it nothing is changed.
storm_on_a_full_disk() {
	check "full disk: a fresh daemon" fresh_daemon
	check "full disk: fill it" fill_disk
	mark
	flood 3000
	check "full disk: the table is full" wait_for 60 is_full
	sleep 5
	check "full disk: nothing was changed that could not be given back" unchanged
	check "full disk: it lives, and reports why" wait_for 30 eval "healthy && ctwarden status --json | grep -i 'no space'"
	rm -f /var/filler
	check "full disk: it acts when there is room" wait_for 90 raised
	calm
	check "full disk: the chain is whole" wait_for 30 verified
}

drop_ins=/etc/systemd/system/$unit.d

# drop_in NAME: installed by the commands in its head.
drop_in() {
	sed -n 's/^#   //p' "/usr/share/ctwarden/$1.conf" >/run/drop-in.sh
	cat /run/drop-in.sh
	test -s /run/drop-in.sh && sh -e /run/drop-in.sh && wait_for 30 active
}
no_drop_in() {
	rm -r "$drop_ins"
	systemctl daemon-reload && systemctl restart $unit && wait_for 30 active
}

# A second host behind the first flood: the table of another namespace.
tenant() {
	ip netns add tenant && ip link add t0 netns tenant type veth peer name t1 netns outside &&
		ip -n tenant address add 198.51.100.1/24 dev t0 && ip -n tenant link set t0 up &&
		ip -n outside address add 198.51.100.2/24 dev t1 && ip -n outside link set t1 up || return
	track_flows ip netns exec tenant
}
tenant_value() { ip netns exec tenant cat "/proc/sys/net/netfilter/$1"; }
tenant_shortened() { [[ $(tenant_value nf_conntrack_udp_timeout) -lt $plain_udp ]]; }
tenant_full() { (($(tenant_value nf_conntrack_count) * 100 >= $(tenant_value nf_conntrack_max) * 95)); }
tenant_drained() { [[ $(tenant_value nf_conntrack_count) -lt 1000 ]]; }
flood_tenant() { ip netns exec outside /e2e/flood udp 198.51.100.1 "$1" & flood=$!; }
named() { recorded '"kind":"incident.open".*"netns_name":"tenant"'; }

storm_next_door() {
	check "another namespace: set up" tenant
	mark
	check "another namespace: netns.act without the drop-in" fresh_daemon 'watch: {netns: all}
netns: {act: true}'
	check "without the drop-in: the daemon reports what is missing" wait_for 10 printed 'CAP_SYS_ADMIN and CAP_SYS_PTRACE: /usr/share/ctwarden/netns.conf'
	check "without the drop-in: so does status" eval "ctwarden status | grep 'netns.*needs CAP_SYS_ADMIN'"
	mark
	flood_tenant 3000
	check "without the drop-in: the other table is full" wait_for 60 tenant_full
	sleep 5
	check "without the drop-in: nothing is changed in it" not tenant_shortened
	calm
	wait_for 90 tenant_drained
	check "with the drop-in: a fresh daemon" fresh_daemon 'watch: {netns: all}
netns: {act: true}'
	mark
	check "with the drop-in: installed as its comment says" drop_in netns
	check "with the drop-in: nothing is missing" not printed CAP_SYS_ADMIN
	flood_tenant 3000
	check "with the drop-in: the full namespace is named" wait_for 90 named
	check "with the drop-in: max is raised for it" wait_for 60 raised
	check "with the drop-in: its timeouts are shortened" wait_for 90 tenant_shortened
	check "with the drop-in: its entries are deleted" wait_for 90 deleted
	check "with the drop-in: the host's timeouts are not" not shortened
	calm
	check "with the drop-in: they are given back" wait_for 180 not tenant_shortened
	check "with the drop-in: it is taken away" no_drop_in
	ip netns del tenant
}

# restarted PID: another process than that one is the daemon.
restarted() { active && [[ $(pid) != "$1" && $(pid) != 0 ]]; }
watchdog_fired() { journalctl -b -u $unit --no-pager -o cat | grep -i 'watchdog timeout'; }
hung_daemon() {
	local before stopped
	check "a hung daemon: a fresh one" fresh_daemon
	mark
	flood 3000
	check "a hung daemon: it has raised max" wait_for 60 raised
	before=$(pid)
	check "a hung daemon: SIGSTOP" kill -STOP "$before"
	stopped=$SECONDS
	mark
	check "a hung daemon: systemd starts another" wait_for 90 restarted "$before"
	report "note a hung daemon was replaced after $((SECONDS - stopped)) s"
	check "a hung daemon: because of the watchdog" watchdog_fired
	check "a hung daemon: the new one goes on from the ledger" wait_for 20 recorded '"kind":"start".*"ledger":\[\{'
	check "a hung daemon: max stays raised" raised
	calm
}

failed_at_once() {
	systemctl show $unit -p ActiveState -p Result -p ExecMainStatus -p NRestarts
	[[ $(systemctl show $unit -p ActiveState --value) == failed && $(systemctl show $unit -p ExecMainStatus --value) == 78 &&
		$(systemctl show $unit -p NRestarts --value) == 0 ]]
}
wrong_configuration() {
	local before
	check "a wrong configuration: a fresh daemon" fresh_daemon
	before=$(pid)
	echo 'nonsense: 1' >>/etc/ctwarden/ctwarden.yaml
	mark
	check "a wrong configuration: a reload keeps the old one" eval "systemctl reload $unit; wait_for 10 recorded 'reload refused: the old configuration stays'"
	check "a wrong configuration: an upgrade keeps the old daemon" eval 'dpkg -i /e2e/new.deb 2>&1 | grep "the old daemon keeps running"'
	check "a wrong configuration: which runs on" same_daemon "$before"
	check "a wrong configuration: another start fails" not systemctl restart $unit
	sleep 5
	check "a wrong configuration: at once, and for good" failed_at_once
	check "a wrong configuration: the journal names file and line" printed "/etc/ctwarden/ctwarden.yaml:$(wc -l </etc/ctwarden/ctwarden.yaml):1: nonsense: unknown key"
	sed -i '$d' /etc/ctwarden/ctwarden.yaml
	check "a wrong configuration: fixed, it starts" systemctl start $unit
	check "a wrong configuration: and is active" active
}

storms() {
	plain_max=$(value nf_conntrack_max)
	plain_udp=$(value nf_conntrack_udp_timeout)
	storm_in_the_journal volatile
	storm_in_the_journal persistent
	storm_without_a_record
	storm_on_a_full_disk
	hung_daemon
	wrong_configuration
	since=2020-01-01T00:00:00Z
	check "nothing was denied in any storm" not denied
	# Where the drop-in is not there, something is.
	storm_next_door
	metrics_drop_in
	check "the log before the storms goes on" verified
}
