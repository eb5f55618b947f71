# rpm.sh ROOT OLD NEW: the life of the rpm in a root without a running systemd.
set -uo pipefail
root=$1 old=$2 new=$3
export LC_ALL=C

tell() { printf '\005%s\n' "$*"; }
check() {
	local name=$1
	shift
	if "$@" >/tmp/e2e-rpm.$$ 2>&1; then
		tell "ok rpm: $name"
	else
		tell "FAIL rpm: $name"
		tail -n 30 /tmp/e2e-rpm.$$
	fi
	rm -f /tmp/e2e-rpm.$$
}
in_root() { chroot "$root" "$@"; }
# Debian's files belong to no rpm, so nothing here satisfies a dependency.
r() { rpm --root "$root" --dbpath /var/lib/rpm "$@"; }
# not fails, too, when there is no such command.
not() {
	"$@"
	local status=$?
	((status > 0 && status < 126))
}

mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --bind /dev "$root/dev"
mkdir -p "$root/var/lib/rpm" "$root/packages"
cp "$old" "$root/packages/old.rpm"
cp "$new" "$root/packages/new.rpm"

# quiet fails, too, when something is said, but for what Debian's rpm says each time.
quiet() {
	local said
	said=$("$@" 2>&1) || { echo "$said"; return 1; }
	said=$(grep -vE '^rpm: (RPM should not be used directly|However assuming you know)' <<<"$said")
	echo "$said"
	[[ -z $said ]]
}
enabled() { in_root systemctl is-enabled ctwarden.service; }
owners() {
	in_root stat -c '%n %U:%G %a' /var/lib/ctwarden /var/log/ctwarden /etc/ctwarden /etc/ctwarden/ctwarden.yaml /usr/bin/ctwarden /usr/share/man/man8
	[[ $(in_root stat -c '%U:%G %a' /var/lib/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /var/log/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml) == 'root:root 644' &&
		$(in_root stat -c '%U:%G %a' /usr/bin/ctwarden) == 'root:root 755' &&
		$(in_root stat -c '%a' /usr/share/man/man8) == 755 ]]
}
system_user() {
	in_root getent passwd ctwarden
	[[ $(in_root id -u ctwarden) -lt 1000 && $(in_root getent passwd ctwarden) == *nologin ]]
}

tell "ready rpm $(rpm --version | grep -oE '[0-9.]+')"
check "digests are right" rpm -K --nosignature "$old"
check "install" quiet r -i --nodeps "$root/packages/old.rpm"
check "the user is there" system_user
check "owners and modes" owners
check "rpm -V finds nothing" quiet r -V --nodeps ctwarden
check "the service is enabled" enabled
check "the program runs" in_root ctwarden config check
check "sysusers.d agrees" in_root systemd-sysusers --dry-run /usr/lib/sysusers.d/ctwarden.conf
echo 'mode: observe' >"$root/etc/ctwarden/ctwarden.yaml"
echo '{}' >"$root/var/log/ctwarden/audit.jsonl"
in_root systemctl disable ctwarden.service >/dev/null 2>&1
check "upgrade" quiet r -U --nodeps "$root/packages/new.rpm"
check "one version is installed" test "$(r -q ctwarden | wc -l)" = 1
check "a changed configuration is kept" grep -q observe "$root/etc/ctwarden/ctwarden.yaml"
check "a service that was disabled stays so" not enabled
check "the user and its files stay" test -f "$root/var/log/ctwarden/audit.jsonl"
check "downgrade" quiet r -U --oldpackage --nodeps "$root/packages/old.rpm"
in_root systemctl enable ctwarden.service >/dev/null 2>&1
check "remove" r -e ctwarden
check "the service is not enabled" not enabled
check "the record is kept" test -f "$root/var/log/ctwarden/audit.jsonl"
check "the changed configuration is kept aside" test -f "$root/etc/ctwarden/ctwarden.yaml.rpmsave"
check "no program is left" test ! -e "$root/usr/bin/ctwarden" -a ! -e "$root/usr/lib/systemd/system/ctwarden.service"
check "reinstall" quiet r -i --nodeps "$root/packages/old.rpm"
check "remove again" r -e ctwarden
tell done
