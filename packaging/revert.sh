# Restores the values that ctwarden changed, even if the table holds more entries than the old max: after the removal no
# program would do it. A failure does not stop the removal; the commands that restore the values are printed.
if ! $host ctwarden revert --force; then
	# A wrong configuration must not prevent it: the defaults name the ledger. /run is a tmpfs; /tmp may be full.
	if ! { plain=$(mktemp -p /run) && echo 'mode: enforce' >"$plain" && $host ctwarden --config "$plain" revert --force; }; then
		echo "ctwarden: some kernel values may still be changed; these commands restore them:" >&2
		$host ctwarden --config "$plain" revert --print >&2 || true
	fi
	rm -f "$plain"
fi
