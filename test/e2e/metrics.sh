# The drop-in for metrics on the network, in the second boot, sourced by guest.sh: what docs/operations.md and the head of
# the drop-in instruct an administrator to do, and who gets metrics then.

certificate=/etc/ctwarden/cert.pem

# web_config: one user, whose password is "a good one", with the smallest cost of bcrypt: this machine is slow.
web_config() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=e2e \
		-addext subjectAltName=IP:127.0.0.1,IP:192.0.2.1 -keyout /etc/ctwarden/key.pem -out $certificate || return
	cat >/etc/ctwarden/web.yaml <<-'END'
		tls_server_config: {cert_file: /etc/ctwarden/cert.pem, key_file: /etc/ctwarden/key.pem}
		basic_auth_users: {prometheus: $2a$04$tyBgoMsWEObBXIj6tPyg8uJLpt33YvxDH7NbvSbK4RquT7J5JuU2e}
		rate_limit: {interval: 1s, burst: 5}
	END
	chown root:ctwarden /etc/ctwarden/{web.yaml,key.pem} && chmod 640 /etc/ctwarden/{web.yaml,key.pem}
}

# listens: on any port, of TCP or UDP.
listens() { ss -Hltunp | grep '"ctwarden"'; }
# answered STATUS URL [OPTION...]: that is the status, and 000 is no answer at all.
answered() {
	local want=$1 url=$2 got
	shift 2
	got=$(curl -sS --max-time 10 --cacert $certificate -o /run/page -w '%{http_code}' "$@" "$url/metrics")
	echo "$got"
	[[ $got == "$want" ]]
}
from_outside() { ip netns exec outside curl -fsS --max-time 5 --cacert $certificate -u 'prometheus:a good one' https://192.0.2.1:9871/metrics; }
served() { grep -E '^ctwarden_table_max_entries(\{[^}]*\})? [1-9]' /run/page && grep -E '^ctwarden_build_info\{' /run/page; }

metrics_drop_in() {
	local before good=(-u 'prometheus:a good one') url=https://127.0.0.1:9871
	check "metrics: a certificate and a password" web_config
	mark
	check "metrics: without the drop-in" fresh_daemon 'metrics: {listen: "0.0.0.0:9871", web_config: /etc/ctwarden/web.yaml}'
	check "metrics: the daemon reports that no metrics are served" wait_for 10 printed 'metrics.listen failed'
	check "metrics: and nothing listens" not listens
	check "metrics: the drop-in, installed as its comment says" drop_in metrics
	check "metrics: the address listens" wait_for 10 listens
	check "metrics: 200 with the password" answered 200 $url "${good[@]}"
	check "metrics: and they are ctwarden's" served
	check "metrics: 401 without one" answered 401 $url
	check "metrics: without any metrics" not served
	check "metrics: 401 with a wrong one" answered 401 $url -u 'prometheus:a bad one'
	check "metrics: 400 without TLS" answered 400 http://127.0.0.1:9871 "${good[@]}"
	check "metrics: another host gets no answer" not from_outside
	printf '[Service]\nIPAddressAllow=192.0.2.2\n' >"$drop_ins/prometheus.conf"
	check "metrics: until it is named in IPAddressAllow" eval 'systemctl daemon-reload && systemctl restart $unit && wait_for 30 from_outside'
	check "metrics: the drop-in gives no capability" unprivileged

	# What is wrong with this file keeps no daemon from starting, so it must not keep an old one running.
	mv /etc/ctwarden/web.yaml /run/web.yaml
	before=$(pid)
	mark
	check "metrics: an upgrade without the file of passwords" dpkg -i /e2e/new.deb
	check "metrics: starts the new daemon" wait_for 30 restarted "$before"
	check "metrics: which reports that no metrics are served" wait_for 10 printed 'metrics.listen failed.*web.yaml'
	check "metrics: and nothing listens without a password" not listens
	mv /run/web.yaml /etc/ctwarden/web.yaml
	check "metrics: with it again" eval 'systemctl restart $unit && wait_for 30 listens'
	check "metrics: the drop-in is taken away" no_drop_in
	check "metrics: nothing listens" not listens
	rm /etc/ctwarden/{web.yaml,key.pem,cert.pem}
	check "metrics: nor does anything without the setting" eval 'fresh_daemon && not listens'
}
