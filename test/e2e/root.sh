# What chroot.sh and rpm.sh begin with: a root, and two versions of a package, as arguments ROOT OLD NEW. No systemd runs there.
set -uo pipefail
root=$1 old=$2 new=$3
kind=${old##*.}
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

report() { printf '\005%s\n' "$*"; }
check() {
	local name=$1
	shift
	if "$@" >/tmp/e2e-root.$$ 2>&1; then
		report "ok $kind: $name"
	else
		report "FAIL $kind: $name"
		tail -n 30 /tmp/e2e-root.$$
	fi
	rm -f /tmp/e2e-root.$$
}
in_root() { chroot "$root" "$@"; }
# not fails, too, when there is no such command.
not() {
	"$@"
	local status=$?
	((status > 0 && status < 126))
}
enabled() { in_root systemctl is-enabled ctwarden.service; }
system_user() {
	in_root getent passwd ctwarden
	[[ $(in_root id -u ctwarden) -lt 1000 && $(in_root getent passwd ctwarden) == *nologin ]]
}

mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --bind /dev "$root/dev"
mkdir -p "$root/packages"
cp "$old" "$root/packages/old.$kind"
cp "$new" "$root/packages/new.$kind"
