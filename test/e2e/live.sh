# The life of the rpm where systemd runs, sourced by guest.sh: at the end of the second boot, when nothing of the deb is
# left. Debian's files belong to no rpm, so nothing here satisfies a dependency.

r() { rpm --dbpath /var/lib/rpm "$@"; }
# quiet fails, too, when something is printed, but for what Debian's rpm prints each time.
quiet() {
	local output
	output=$("$@" 2>&1) || { echo "$output"; return 1; }
	output=$(grep -vE '^rpm: (RPM should not be used directly|However assuming you know)' <<<"$output")
	echo "$output"
	[[ -z $output ]]
}
enabled() { [[ $(systemctl is-enabled $unit) == enabled ]]; }
as_packaged() { quiet r -V --nodeps ctwarden; }
# once_started VERSION: since the mark there was one start, of that version, with what the one before it had changed.
once_started() {
	local starts
	starts=$(records | grep '"kind":"start"')
	echo "$starts"
	[[ $(wc -l <<<"$starts") == 1 && $starts == *"\"version\":\"v$1\""* && $starts == *'"ledger":[{'* ]]
}
stopped_for_good() { not active && [[ ! -e /etc/systemd/system/multi-user.target.wants/$unit ]] && not pgrep -x ctwarden; }

# like_red_hat: all services are disabled by a preset of the distribution's, and there is no such user.
like_red_hat() {
	mkdir -p /usr/lib/systemd/system-preset /var/lib/rpm
	echo 'disable *' >/usr/lib/systemd/system-preset/99-default-disable.preset
	userdel ctwarden && not getent passwd ctwarden
}

live_rpm() {
	local before begun
	mark
	begun=$since
	check "live rpm: a preset that disables all, and no user" like_red_hat
	check "live rpm: install" quiet r -i --nodeps /e2e/old.rpm
	check "live rpm: its preset enables the service" enabled
	check "live rpm: and it is started" wait_for 30 active
	check "live rpm: as ctwarden with two capabilities" unprivileged
	check "live rpm: files belong to whom they should" owned
	check "live rpm: rpm -V finds nothing beside a running daemon" as_packaged
	check "live rpm: journalctl -x explains" wait_for 10 logs_explained
	check "live rpm: a fresh daemon" fresh_daemon
	mark
	flood 3000
	check "live rpm: the flood raises max" wait_for 60 eval 'raised && did raise_max'
	check "live rpm: unreplied entries are deleted" wait_for 90 deleted
	check "live rpm: timeouts are shortened" wait_for 90 eval 'shortened && did shorten_timeout'
	before=$(pid)
	mark
	check "live rpm: upgrade in the flood" quiet r -U --nodeps /e2e/new.rpm
	check "live rpm: another daemon is active" wait_for 30 restarted "$before"
	check "live rpm: the new one, once, with the ledger" wait_for 20 once_started "$(cat /e2e/old.version).1"
	check "live rpm: max stays raised" raised
	check "live rpm: the configuration is kept" grep -q 'ceiling: 16384' /etc/ctwarden/ctwarden.yaml
	check "live rpm: the chain is whole" verified

	settings >/e2e/settings.flood
	check "live rpm: values are changed before the removal" not diff /e2e/settings.before /e2e/settings.flood
	check "live rpm: remove, in the flood" r -e ctwarden
	check "live rpm: the service is gone" stopped_for_good
	settings >/e2e/settings.after
	check "live rpm: every value is as before" diff /e2e/settings.before /e2e/settings.after
	calm
	check "live rpm: the record and the changed configuration are kept" test -s /var/log/ctwarden/audit.jsonl -a \
		-d /var/lib/ctwarden -a -s /etc/ctwarden/ctwarden.yaml.rpmsave
	check "live rpm: reinstall" quiet r -i --nodeps /e2e/new.rpm
	check "live rpm: it is active, and enabled again" eval 'wait_for 30 active && enabled'
	check "live rpm: the chain goes on" verified
	echo 'nonsense: 1' >>/etc/ctwarden/ctwarden.yaml
	before=$(pid)
	check "live rpm: a downgrade with a wrong configuration reports it" eval \
		'r -U --oldpackage --nodeps /e2e/old.rpm 2>&1 | grep "the old daemon keeps running"'
	check "live rpm: the daemon of before runs on" same_daemon "$before"
	sed -i '$d' /etc/ctwarden/ctwarden.yaml
	since=$begun
	check "live rpm: nothing was denied" not denied
	check "live rpm: and removed again" r -e ctwarden
	check "live rpm: after rm -r of the record no file is left" eval 'rm -r /var/lib/ctwarden /var/log/ctwarden /etc/ctwarden/ctwarden.yaml.rpmsave && rmdir /etc/ctwarden && no_file'
	check "live rpm: every value is as before still" eval 'settings >/e2e/settings.after && diff /e2e/settings.before /e2e/settings.after'
}
