package control_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/control"
)

// password is what users logs the user prometheus in with. The hash is one of
// bcrypt at its least cost.
const (
	password = "a long password"
	users    = "basic_auth_users: {prometheus: $2a$04$cFvPEdGWhLhQdn3XJM20y.zGCgjtZDLn1jO.EfQdJ1UlZRrkWJAUC}\n"
)

// onNetwork serves a page on an address of its own until the test ends.
func serveOnNetwork(t *testing.T, webConfig string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	say := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() { served <- control.ServeMetrics(ctx, l, page, webConfig, say) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// file writes a file and returns its path.
func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate writes one for 127.0.0.1 and its key beside the web
// configuration, and returns who trusts it.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	file(t, dir, "cert.pem", text)
	file(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(text))
	return pool
}

const withTLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"

func TestNetworkServesMetricsOnly(t *testing.T) {
	address := serveOnNetwork(t, "")
	for what, want := range map[string]string{
		"GET /metrics": "200", "GET /v1/status": "404", "POST /v1/pause": "404", "POST /metrics": "405",
		"GET /metrics?" + strings.Repeat("x", 1<<20): "431",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		// The server may hang up before it has read everything.
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", what)
		line, err := bufio.NewReader(conn).ReadString('\n')
		// The kernel may take the answer away with the connection.
		if err == nil && !strings.HasPrefix(line, "HTTP/1.1 "+want) || err != nil && want != "431" {
			t.Errorf("%.20s: %q, %v", what, line, err)
		}
		conn.Close()
	}
}

func TestMetricsWithPasswordAndTLS(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	for name, c := range map[string]struct {
		web, scheme, user, password string
		want                        int // 0: no answer
	}{
		"without a file anybody may read":          {"", "http", "", "", 200},
		"the right password":                       {users, "http", "prometheus", password, 200},
		"the wrong password":                       {users, "http", "prometheus", "a long passwore", 401},
		"an empty password":                        {users, "http", "prometheus", "", 401},
		"the password of another":                  {users, "http", "somebody", password, 401},
		"no password":                              {users, "http", "", "", 401},
		"TLS alone":                                {withTLS, "https", "", "", 200},
		"TLS and the right password":               {withTLS + users, "https", "prometheus", password, 200},
		"TLS and the wrong password":               {withTLS + users, "https", "prometheus", "x", 401},
		"TLS, but the caller speaks in the open":   {withTLS + users, "http", "prometheus", password, 400},
		"the caller wants TLS where there is none": {users, "https", "prometheus", password, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := ""
			if c.web != "" {
				path = file(t, dir, "web.yaml", c.web)
			}
			if err := control.CheckWeb(path); err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.scheme+"://"+serveOnNetwork(t, path)+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.user != "" {
				request.SetBasicAuth(c.user, c.password)
			}
			client := http.Client{Transport: &http.Transport{
				DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
			}}
			answer, err := client.Do(request)
			if err != nil {
				if c.want != 0 {
					t.Error(err)
				}
				return
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != c.want {
				t.Errorf("%d, %v; want %d", answer.StatusCode, err, c.want)
			}
			if told := string(text) == "up 1\n"; told != (c.want == 200) {
				t.Errorf("%d tells %q", answer.StatusCode, text)
			}
			if answer.ProtoMajor != 1 {
				t.Errorf("%s: many requests at a time through one connection", answer.Proto)
			}
		})
	}
}

func TestCheckWeb(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	for name, c := range map[string]struct{ text, want string }{
		"a key that nobody knows":         {"tls_config: {}\n", "tls_config not found"},
		"a certificate that is not there": {"tls_server_config: {cert_file: gone.pem, key_file: key.pem}\n", "gone.pem"},
		"a key without a certificate":     {"tls_server_config: {key_file: key.pem}\n", "missing one of cert or cert_file"},
		"a password that is no hash":      {"basic_auth_users: {prometheus: secret}\n", "too short to be a bcrypted password"},
		"what is not YAML":                {"{", "yaml"},
	} {
		path := file(t, dir, "web.yaml", c.text)
		if err := control.CheckWeb(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %s and the file", name, err, c.want)
		}
		// Nothing is told instead.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		err = control.ServeMetrics(t.Context(), l, http.NotFoundHandler(), path, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s: served", name)
		}
		if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
			conn.Close()
			t.Errorf("%s: it still listens", name)
		}
	}
	gone := filepath.Join(dir, "gone.yaml")
	if err := control.CheckWeb(gone); err == nil || strings.Count(err.Error(), gone) != 1 {
		t.Errorf("error %v, want one that names %s once", err, gone)
	}
}

func TestSlowMetricsReaderIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the read timeout of 5 s")
	}
	dir := t.TempDir()
	certificate(t, dir)
	for name, web := range map[string]string{"in the open": "", "in the middle of a TLS handshake": file(t, dir, "web.yaml", withTLS+users)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", serveOnNetwork(t, web))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// A TLS record of which the rest never comes, or a header.
			if _, err := conn.Write([]byte("\x16\x03\x01\x02\x00\x01")); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); os.IsTimeout(err) {
				t.Error("the daemon still waits for the rest")
			}
		})
	}
}
