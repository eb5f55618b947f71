#!/bin/bash
# Runs in the machine, once each boot, as root. Its standard output goes to the host: lines that begin
# with the byte 05 are for the program, the rest for people.
set -uo pipefail
cd /e2e || exit 1
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
unit=ctwarden.service

# Also from within a check, whose own output goes elsewhere.
exec 3>&1
report() { printf '\n\005%s\n' "$*" >&3; }

# check NAME COMMAND...: one line of the table. The output is kept, where a full disk does not matter, and shown only of
# what failed.
check() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >/run/e2e.output 2>&1; then
		report "ok $name ($((SECONDS - start)) s)"
	else
		report "FAIL $name"
		echo "--- $*"
		tail -n 40 /run/e2e.output
		journalctl -b --no-pager -n 15 -o cat 2>&1 | cut -c1-300
		echo "---"
	fi
}

# wait_for SECONDS COMMAND...: until it is so.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		if ((SECONDS >= end)); then
			echo "not so after the time: $*"
			return 1
		fi
		sleep 0.5
	done
}

active() { [[ $(systemctl is-active $unit) == active ]]; }
pid() { systemctl show -p MainPID --value $unit; }
value() { cat "/proc/sys/net/netfilter/$1"; }
# recorded EXPRESSION: a record of the audit log is like that. Since the mark that `mark` set. It is of whole seconds: what
# came before it must not have come in the same one.
mark() { sleep 1; since=$(date -u +%Y-%m-%dT%H:%M:%SZ); }
# Not with the host's configuration, which is wrong at times here.
records() { ctwarden --config /e2e/plain.yaml audit show --json --since "$since"; }
# Not `grep -q`: it would end before `audit show` does, whose broken pipe is a failure here.
recorded() { records | grep -E "$1" >/dev/null; }
did() { recorded "\"kind\":\"outcome\".*\"type\":\"$1\".*\"ok\":true"; }
# not fails, too, when there is no such command.
not() {
	"$@"
	local status=$?
	((status > 0 && status < 126))
}

unprivileged() {
	local status
	status=$(cat "/proc/$(pid)/status")
	echo "$status"
	[[ $(ps -o user= -p "$(pid)") == ctwarden ]] || return 1
	# CAP_NET_ADMIN is bit 12 and CAP_SYSLOG bit 34.
	local c
	for c in CapEff CapPrm CapAmb CapBnd; do
		grep -qE "^$c:\s*0000000400001000$" <<<"$status" || { echo "$c is another"; return 1; }
	done
	grep -qE '^NoNewPrivs:\s*1$' <<<"$status" && grep -qE '^Seccomp:\s*2$' <<<"$status"
}

exposure() {
	local line number
	line=$(systemd-analyze --no-pager security $unit | tail -1)
	echo "$line"
	number=$(grep -oE '[0-9]+\.[0-9]+' <<<"$line")
	report "note exposure level $number of at most 2.5"
	[[ -n $number && ${number/./} -le 25 ]]
}

# denied prints what was refused to the daemon.
denied() {
	journalctl -b -u $unit --no-pager -o cat --since "$(journal_time)" | grep -iE 'permission denied|not permitted|read-only' && return 0
	records | grep -iE 'permission denied|not permitted|read-only'
}

# settings are the values that ctwarden may change.
settings() {
	modprobe nf_conntrack && modprobe nf_conntrack_netlink
	(cd /proc/sys/net/netfilter && grep -r . . | grep -vE '_count:|nf_conntrack_(log|events)' | sort)
}

logs_explained() {
	local text
	text=$(journalctl --no-pager -b -x -t ctwarden)
	[[ $text == *'ctwarden started'* && $text == *'No action is needed'* ]]
}
healthy() { systemctl is-active $unit && [[ $(systemctl --failed --no-legend | grep -c ctwarden) == 0 ]]; }
# verified: the chain is whole and each plan is decided again as it was.
verified() { ctwarden audit verify; }
# agrees: what journald has of the records is what stands in the log.
agrees() { journalctl --no-pager -b -u $unit -o json | ctwarden audit verify --journal -; }
# Records that are cut off the end leave a whole chain: only the journal's copies show it.
detects_a_cut() {
	head -n -3 /var/log/ctwarden/audit.jsonl >/run/cut.jsonl
	ctwarden audit verify --log /run/cut.jsonl && not sh -c "journalctl --no-pager -b -u $unit -o json | ctwarden audit verify --log /run/cut.jsonl --journal -"
}
no_gap() { not grep -E '"kind":"gap"' /var/log/ctwarden/audit.jsonl; }
answers() { ctwarden status --json | grep '"running": true'; }
reachable() { setpriv --reuid nobody --regid nogroup --groups "$(getent group ctwarden | cut -d: -f3)" ctwarden status --json | grep '"running": true'; }
refused() { not setpriv --reuid nobody --regid nogroup --clear-groups ctwarden status; }
owned() {
	stat -c '%n %U:%G %a' /var/lib/ctwarden /var/log/ctwarden /run/ctwarden /run/ctwarden/control.sock /etc/ctwarden/ctwarden.yaml
	[[ $(stat -c '%U:%G %a' /var/lib/ctwarden) == 'ctwarden:ctwarden 750' && $(stat -c '%U:%G %a' /var/log/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(stat -c '%U:%G %a' /run/ctwarden/control.sock) == 'ctwarden:ctwarden 660' && $(stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml) == 'root:root 644' ]]
}

# A second namespace, whose packets come in over a veth. Tracking starts with the rule that asks for it.
network() {
	ip netns add outside && ip link add v0 type veth peer name v1 netns outside &&
		ip address add 192.0.2.1/24 dev v0 && ip link set v0 up &&
		ip -n outside address add 192.0.2.2/24 dev v1 && ip -n outside link set v1 up || return
	track_flows
}
# track_flows [COMMAND...]: with the rule, in the namespace of the command. There is no answer.
track_flows() {
	"$@" nft -f - <<-EOF
		table ip e2e {
			chain inward {
				type filter hook input priority 0;
				ct state new counter
			}
			chain outward {
				type filter hook output priority 0;
				icmp type destination-unreachable drop
			}
		}
	EOF
}

connect() {
	/e2e/flood serve 192.0.2.1:7 & servers+=($!)
	sleep 1
	ip netns exec outside /e2e/flood hold 192.0.2.1:7 /run/held & servers+=($!)
	wait_for 20 test -s /run/held
}

alive() {
	local before
	before=$(cat /run/held)
	sleep 2
	(($(cat /run/held) > before))
}

flood() { ip netns exec outside /e2e/flood udp 192.0.2.1 "$1" & flood=$!; }
calm() { kill "$flood" && wait "$flood" 2>/dev/null; true; }
servers=()
since=2020-01-01T00:00:00Z

status_line() { ctwarden status 2>&1 | head -12; }

first_boot() {
	settings >/e2e/settings.before
	modprobe -r nf_conntrack_netlink nf_conntrack
	check "the module is not loaded before the installation" test ! -e /proc/sys/net/netfilter/nf_conntrack_max
	check "install" dpkg -i /e2e/old.deb
	check "dpkg --verify finds nothing" intact
	check "the service is active" wait_for 30 active
	check "it runs as ctwarden with two capabilities" unprivileged
	check "it waits while the module is not loaded" answers
	check "and loads none" test ! -e /proc/sys/net/netfilter/nf_conntrack_max
	check "exposure is at most 2.5" exposure
	check "files belong to whom they should" owned
	check "a member of the group may query the socket" reachable
	check "no other user may" refused
	check "a second dpkg -i changes nothing" dpkg -i /e2e/old.deb
	check "journalctl -x explains" wait_for 10 logs_explained
	check "man pages are complete" test -f /usr/share/man/man8/ctwarden-run.8.gz -a -f /usr/share/man/man5/ctwarden.yaml.5.gz -a -x /usr/share/man/man8

	check "the module is loaded later" modprobe nf_conntrack
	check "it sees the table" wait_for 20 sees_table
	if ctwarden status --json | grep '"journald": {' >/dev/null; then
		check "the journal is a source that lives" wait_for 20 journal_alive
	else
		report "note this program does not read the journal"
	fi
	check "a second namespace" network
	printf 'raise:\n  ceiling: 16384\n' >>/etc/ctwarden/ctwarden.yaml
	mark
	check "reload" systemctl reload $unit
	check "the new configuration is recorded" wait_for 10 recorded '"kind":"config".*16384'
	echo 'nonsense: 1' >>/etc/ctwarden/ctwarden.yaml
	mark
	check "reload a wrong configuration" systemctl reload $unit
	check "it is refused, the old one stays" wait_for 10 recorded '"kind":"config".*"error"'
	sed -i '$d' /etc/ctwarden/ctwarden.yaml
	check "it is active still" active
	systemctl reload $unit

	check "a connection that must survive" connect
	mark
	flood 3000
	check "the flood raises max" wait_for 60 did raise_max
	report "note max $(value nf_conntrack_max) after $(value nf_conntrack_count) entries"
	check "kill -9 in the middle" kill -9 "$(pid)"
	check "systemd starts it again" wait_for 30 active
	check "it knows what it had changed" wait_for 20 recorded '"kind":"start".*"ledger":\[\{'
	check "timeouts are shortened" wait_for 90 did shorten_timeout
	check "idle entries are deleted" wait_for 90 did delete_entries
	check "the kernel's lines are recorded" wait_for 60 recorded '"kind":"signal".*table full'
	mark
	check "upgrade in the flood" dpkg -i /e2e/new.deb
	check "the new one is active" wait_for 30 active
	check "it prints the new version" sh -c 'ctwarden version && [ "$(ctwarden version)" != "ctwarden $(cat /e2e/old.version)" ]'
	check "the changed conffile is kept" grep -q 'ceiling: 16384' /etc/ctwarden/ctwarden.yaml
	check "it goes on where the old one was" wait_for 20 recorded '"kind":"start".*"ledger":\[\{'
	mark
	check "it acts after the upgrade" wait_for 90 recorded '"kind":"(outcome|hold|verdict)"'
	check "watchdog and memory are within bounds" bounds
	calm
	check "the connection is alive" alive
	check "downgrade" dpkg -i /e2e/old.deb
	check "the old one is active" wait_for 30 active
	check "the chain is whole over kill, upgrade and downgrade" verified
	check "each start is in it" all_starts
	check "the journal's copies agree with it" agrees
	check "and show when its end is cut off" detects_a_cut
	administrator
	since=2020-01-01T00:00:00Z
	check "nothing was denied" not denied
	check "the log has no gap" no_gap

	check "rotate the journal" sh -c 'journalctl --rotate && journalctl --vacuum-time=1s && systemctl restart systemd-journald'
	mark
	systemctl reload $unit
	check "records reach the new journal" wait_for 20 in_journal
	check "fill the disk" fill_disk
	mark
	systemctl reload $unit
	check "it lives on a full disk" wait_for 10 healthy
	check "status reports that records can't be written" wait_for 60 record_refused
	rm -f /var/filler
	systemctl restart $unit
	check "and goes on after it" wait_for 30 active
	check "the chain is whole" verified
	check "revert --print names the commands" sh -c 'ctwarden revert --print | grep nf_conntrack_max'
	report "note $(wc -l </var/log/ctwarden/audit.jsonl) records"
	kill "${servers[@]}"
	echo second >/e2e/stage
	report reboot
	systemctl reboot
}

# intact: every file is as in the package, but for what an administrator may change.
intact() {
	local differs
	differs=$(dpkg --verify ctwarden)
	echo "$differs"
	[[ -z $differs ]]
}
# all_starts: install, the same once more, kill -9, upgrade, downgrade; the versions show which was which.
all_starts() {
	local versions old
	versions=$(ctwarden --config /e2e/plain.yaml audit show --json --kind start | grep -oE '"version":"[^"]+"' | cut -d'"' -f4)
	echo "$versions"
	old=$(head -1 <<<"$versions")
	[[ $(echo $versions) == "$old $old $old $old.1 $old" ]]
}
# administrator: his choices outlive an upgrade and a downgrade.
administrator() {
	check "an administrator disables it" systemctl disable --now $unit
	check "upgrade of a disabled one" dpkg -i /e2e/new.deb
	check "it stays disabled" test "$(systemctl is-enabled $unit)" = disabled
	check "and is not started" not active
	check "an administrator masks it" systemctl mask $unit
	check "downgrade of a masked one" dpkg -i /e2e/old.deb
	check "it stays masked" test "$(systemctl is-enabled $unit)" = masked
	check "he enables it again" sh -c "systemctl unmask $unit && systemctl enable --now $unit"
	check "and it runs" wait_for 30 active
}

# The last block of the log has room for a few records, so it takes as many reloads as it takes.
record_refused() { systemctl reload $unit; ctwarden status --json | grep -i 'no space'; }
journal_alive() { ctwarden status --json | grep -A2 '"journald": {' | grep '"alive": true'; }
sees_table() { ctwarden status --json | grep '"max": [1-9]'; }
in_journal() { journalctl --no-pager -b -t ctwarden --since "-60s" -o json | grep '"CTWARDEN_KIND":"config"'; }
fill_disk() {
	dd if=/dev/zero of=/var/filler bs=1M status=none
	not setpriv --reuid ctwarden --regid ctwarden --clear-groups dd if=/dev/zero of=/var/log/ctwarden/x bs=64k count=64 status=none
	rm -f /var/log/ctwarden/x
	df /var | tail -1
}
bounds() {
	systemctl show $unit -p MemoryCurrent -p MemoryPeak -p TasksCurrent -p NRestarts
	grep -E 'VmHWM|Threads' "/proc/$(pid)/status"
	report "note peak resident set $(awk '/VmHWM/{print $2, $3}' "/proc/$(pid)/status"), $(awk '/Threads/{print $2}' "/proc/$(pid)/status") threads"
	[[ $(awk '/VmHWM/{print $2}' "/proc/$(pid)/status") -lt 65536 ]]
}

second_boot() {
	check "it is active after the reboot" wait_for 60 active
	check "and runs as ctwarden" unprivileged
	check "the chain goes over the reboot" verified
	check "before the module is loaded" test ! -e /proc/sys/net/netfilter/nf_conntrack_max
	check "it waits for it again" answers
	check "the module is loaded later again" modprobe nf_conntrack
	check "it sees the table again" wait_for 20 sees_table
	check "a second namespace" network
	storms
	check "a fresh daemon" fresh_daemon
	mark
	flood 3000
	check "the flood raises max again" wait_for 60 did raise_max
	value nf_conntrack_max
	settings >/e2e/settings.flood
	calm
	check "values are changed before the removal" not diff /e2e/settings.before /e2e/settings.flood
	# The values have to be put back all the same.
	echo 'nonsense: 1' >>/etc/ctwarden/ctwarden.yaml
	check "remove, with a configuration that is wrong" dpkg -r ctwarden
	cat /run/e2e.output
	check "the service is gone" not active
	settings >/e2e/settings.after
	check "every value is as before" diff /e2e/settings.before /e2e/settings.after
	check "the record is kept" test -s /var/log/ctwarden/audit.jsonl -a -d /var/lib/ctwarden
	sed -i '$d' /etc/ctwarden/ctwarden.yaml
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
	check "reinstall under policy-rc.d" dpkg -i /e2e/old.deb
	check "which forbids the start" not active
	rm /usr/sbin/policy-rc.d
	check "upgrade of what does not run" dpkg -i /e2e/new.deb
	check "it is active again" wait_for 30 active
	check "the chain goes on" verified
	check "nothing was denied" not denied
	check "purge" dpkg -P ctwarden
	check "the record is gone" not ls -d /var/log/ctwarden /var/lib/ctwarden /etc/ctwarden /run/ctwarden
	check "no file is left" no_file
	check "every value is as before still" sh -c 'diff /e2e/settings.before /e2e/settings.after'
	live_rpm
	check "no unit has failed" test -z "$(systemctl --failed --no-legend --plain)"
	report done
	systemctl poweroff
}

# What systemd itself keeps of a timer or a masked unit is not there either.
no_file() {
	local left
	left=$(find / -xdev -path /e2e -prune -o -path /var/log/journal -prune -o -name '*ctwarden*' -print)
	echo "$left"
	[[ -z $left ]]
}

. /e2e/storms.sh
. /e2e/metrics.sh
. /e2e/live.sh

report "ready $(uname -r), systemd $(systemctl --version | awk 'NR==1{print $2}')"
# `systemctl is-system-running --wait` would wait for this very job.
if [[ $(cat /e2e/stage) == first ]]; then first_boot; else second_boot; fi
