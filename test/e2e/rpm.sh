# rpm.sh, after root.sh: the life of the rpm with a package database of its own.
mkdir -p "$root/var/lib/rpm"

# Debian's files belong to no rpm, so nothing here satisfies a dependency.
r() { rpm --root "$root" --dbpath /var/lib/rpm "$@"; }

# quiet fails, too, when something is printed, but for what Debian's rpm prints each time.
quiet() {
	local output
	output=$("$@" 2>&1) || { echo "$output"; return 1; }
	output=$(grep -vE '^rpm: (RPM should not be used directly|However assuming you know)' <<<"$output")
	echo "$output"
	[[ -z $output ]]
}
owners() {
	in_root stat -c '%n %U:%G %a' /var/lib/ctwarden /var/log/ctwarden /etc/ctwarden /etc/ctwarden/ctwarden.yaml /usr/bin/ctwarden /usr/share/man/man8
	[[ $(in_root stat -c '%U:%G %a' /var/lib/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /var/log/ctwarden) == 'ctwarden:ctwarden 750' &&
		$(in_root stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml) == 'root:root 644' &&
		$(in_root stat -c '%U:%G %a' /usr/bin/ctwarden) == 'root:root 755' &&
		$(in_root stat -c '%a' /usr/share/man/man8) == 755 ]]
}
complete() {
	local file dir=/usr/share/doc/ctwarden
	for file in $dir/README.md $dir/operations.md $dir/third-party-licenses.txt.gz /usr/share/licenses/ctwarden/LICENSE \
		$dir/examples/{profiles/gateway.yaml,prometheus/ctwarden.rules.yml,grafana/ctwarden.json,kubernetes/base/daemonset.yaml} \
		/usr/share/ctwarden/{netns.conf,npd/check-conntrack} /usr/share/man/man5/ctwarden.yaml.5.gz \
		/usr/share/zsh/site-functions/_ctwarden /usr/lib/systemd/system-preset/50-ctwarden.preset; do
		r -q -l ctwarden | grep -x "$file" >/dev/null && [[ -s $root$file ]] || { echo "$file is not shipped"; return 1; }
	done
}
# described: as rpm does it, without the summary once more and Debian's mark for an empty line.
described() {
	local text
	text=$(r -q --queryformat '%{DESCRIPTION}' ctwarden)
	echo "$text"
	[[ $text == 'ctwarden reads'* && $text == *$'\n\nIt raises'* ]]
}
# all_owned: of each directory that is named after the package there is an owner, so that a removal takes it along.
all_owned() {
	local dir
	while read -r dir; do
		r -q -l ctwarden | grep -x "${dir#"$root"}" >/dev/null || { echo "${dir#"$root"} is nobody's"; return 1; }
	done < <(find "$root"/{etc,usr,var}/ -xdev -type d -path '*ctwarden*')
}

report "ready rpm $(rpm --version | grep -oE '[0-9.]+')"
check "digests are right" rpm -K --nosignature "$old"
check "install" quiet r -i --nodeps "$root/packages/old.rpm"
check "the user is there" system_user
check "owners and modes" owners
check "documents and examples are there" complete
check "the description is an rpm's" described
check "no directory belongs to nobody" all_owned
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
mkdir -p "$root/etc/systemd/system-preset"
echo 'disable *' >"$root/etc/systemd/system-preset/00-e2e.preset"
check "install where an administrator's preset disables all" quiet r -i --nodeps "$root/packages/new.rpm"
check "it stays disabled" not enabled
check "and is removed" r -e ctwarden
report done
