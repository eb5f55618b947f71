# Without ctwarden nobody gives back what it changed, so it is given back now, even while the table is fuller than the
# old max. What cannot be given back is no reason to stay installed; it is told, with the commands that would do it.
if ! $host ctwarden revert --force; then
	# A configuration that can't be read must not keep values changed: the defaults know where the ledger is. /run has
	# room where /tmp may have none.
	if ! { plain=$(mktemp -p /run) && echo 'mode: enforce' >"$plain" && $host ctwarden --config "$plain" revert --force; }; then
		echo "ctwarden: values of the kernel may still be changed; these commands put them back:" >&2
		$host ctwarden --config "$plain" revert --print >&2 || true
	fi
	rm -f "$plain"
fi
