# chroot.sh, after root.sh: the life of the deb in a chroot, as an installer and a builder of images have it, and in a
# container without any systemd at all.

# running fails when no process has its root there and the program's name.
running() {
	local exe
	for exe in /proc/[0-9]*/exe; do
		[[ $(readlink "$exe") != "$root/usr/bin/ctwarden"* ]] || return 0
	done
	return 1
}
owners() {
	in_root stat -c '%n %U:%G %a' /var/lib/ctwarden /var/log/ctwarden /etc/ctwarden /etc/ctwarden/ctwarden.yaml /usr/bin/ctwarden /usr/share/ctwarden/npd/check-conntrack
	[[ $(in_root stat -c '%U:%G %a' /var/lib/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /var/log/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml) == 'root:root 644' &&
		$(in_root stat -c '%U:%G %a' /usr/share/ctwarden/npd/check-conntrack) == 'root:root 755' &&
		$(in_root stat -c '%U:%G %a' /usr/bin/ctwarden) == 'root:root 755' ]]
}
# plain_modes: directories 755, files 644, all of root, but for the two programs.
plain_modes() {
	local other
	other=$(dpkg-deb --contents "$old" | grep -vE '^(drwxr-xr-x|-rw-r--r--) (root/root|0/0) ')
	echo "$other"
	[[ $(wc -l <<<"$other") == 2 && $(grep -cE '^-rwxr-xr-x root/root .* \./usr/(bin/ctwarden|share/ctwarden/npd/check-conntrack)$' <<<"$other") == 2 ]]
}
intact() {
	local differs
	differs=$(in_root dpkg --verify ctwarden)
	echo "$differs"
	[[ -z $differs ]]
}
shipped() { in_root dpkg-query -L ctwarden | grep -x "$1" >/dev/null && [[ -s $root$1 ]]; }
complete() {
	local file dir=/usr/share/doc/ctwarden
	for file in $dir/README.md $dir/operations.md $dir/copyright $dir/changelog.Debian.gz $dir/third-party-licenses.txt.gz \
		$dir/examples/{profiles/gateway.yaml,prometheus/ctwarden.rules.yml,grafana/ctwarden.json,kubernetes/base/daemonset.yaml} \
		/usr/share/ctwarden/{netns.conf,npd/conntrack-monitor.json} /usr/share/man/man5/ctwarden.yaml.5.gz \
		/usr/share/bash-completion/completions/ctwarden /usr/share/zsh/vendor-completions/_ctwarden \
		/usr/share/fish/vendor_completions.d/ctwarden.fish /usr/lib/systemd/catalog/ctwarden.catalog; do
		shipped "$file" || { echo "$file is not shipped"; return 1; }
	done
}
profiles_load() {
	local file
	for file in "$root"/usr/share/doc/ctwarden/examples/profiles/*.yaml; do
		in_root ctwarden --config "${file#"$root"}" config check || return
	done
}
# left prints what a purge leaves; what systemd keeps of a unit that was enabled is left by a removal, not by a purge.
left() {
	find "$root" -xdev -path "$root/packages" -prune -o -name '*ctwarden*' -print | grep .
}

report "ready $(in_root dpkg --version | head -1 | grep -oE '[0-9.]+[0-9]' | head -1)"
check "modes and owners inside" plain_modes
check "install in a chroot" in_root dpkg -i /packages/old.deb
check "the user is there" system_user
check "owners and modes" owners
check "dpkg --verify finds nothing" intact
check "documents and examples are there" complete
check "the profiles load" profiles_load
check "the service is enabled" enabled
check "nothing was started" not running
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod 755 "$root/usr/sbin/policy-rc.d"
echo 'mode: observe' >"$root/etc/ctwarden/ctwarden.yaml"
echo '{}' >"$root/var/log/ctwarden/audit.jsonl"
check "upgrade under policy-rc.d, without a question" in_root dpkg -i /packages/new.deb
check "a changed configuration is kept" grep -q observe "$root/etc/ctwarden/ctwarden.yaml"
check "downgrade, without a question" in_root dpkg -i /packages/old.deb
check "the record is kept" test -f "$root/var/log/ctwarden/audit.jsonl"
check "remove" in_root dpkg -r ctwarden
check "the record outlives it" test -f "$root/var/log/ctwarden/audit.jsonl" -a -f "$root/etc/ctwarden/ctwarden.yaml"
check "reinstall" in_root dpkg -i /packages/new.deb
check "and it is enabled again" enabled
ln -sf /nowhere "$root/etc/ctwarden/ctwarden.yaml"
mount -t tmpfs -o size=4k tmpfs "$root/tmp" && dd if=/dev/zero of="$root/tmp/filler" bs=4k count=1 status=none
check "remove, with a configuration that can't be read and a full /tmp" in_root dpkg -r ctwarden
umount "$root/tmp"
rm "$root/etc/ctwarden/ctwarden.yaml"
check "purge" in_root dpkg -P ctwarden
check "nothing is left" not left
check "but the user, whose number must not become another's" system_user

# A container of another init: the programs of systemd are not there, nor is its user.
in_root userdel ctwarden
for file in systemd-sysusers systemd-tmpfiles systemctl journalctl; do
	rm -f "$root/usr/bin/$file" "$root/bin/$file"
done
check "install without systemd" in_root dpkg -i /packages/old.deb
check "the user is there without sysusers" system_user
check "owners and modes without tmpfiles" owners
check "the program runs" in_root ctwarden config check
check "upgrade without systemd" in_root dpkg -i /packages/new.deb
check "purge without systemd" in_root dpkg -P ctwarden
check "nothing is left without systemd" not left
report done
