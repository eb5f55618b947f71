package config_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// values compares configurations, wherever their values come from.
var values = cmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// write puts text into a file of its own and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded is the configuration of a source that must be right.
func loaded(t *testing.T, src config.Source) *config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// complaints are the lines of the error of a source that must be wrong, with
// the directory of its file cut off.
func complaints(t *testing.T, src config.Source) []string {
	t.Helper()
	c, err := config.Load(src)
	if err == nil {
		t.Fatal("no error")
	}
	if c != nil {
		t.Errorf("a configuration came with the error %v", err)
	}
	text := strings.ReplaceAll(err.Error(), filepath.Dir(src.Path)+"/", "")
	return strings.Split(text, "\n")
}

func TestNoSourceGivesTheDefaults(t *testing.T) {
	c := loaded(t, config.Source{})
	if diff := cmp.Diff(config.Default(), *c, values); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(policy.Defaults(), c.Limits); diff != "" {
		t.Errorf("limits -want +got:\n%s", diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheZeroConfigIsNotValid(t *testing.T) {
	if err := new(config.Config).Validate(); err == nil {
		t.Error("no error")
	}
}

func TestFilesAreTaken(t *testing.T) {
	tests := []struct {
		name, text string
		change     func(*config.Config)
	}{
		{"comments only", "# nothing yet\n", func(*config.Config) {}},
		{"a document mark only", "---\n", func(*config.Config) {}},
		{"a byte order mark and line ends of DOS", "\ufeffmode: observe\r\nwatch:\r\n  kmsg: off\r\n", func(c *config.Config) {
			c.Limits.Mode, c.Watch.KMsg = policy.Observe, config.Off
		}},
		{"a section with everything in it commented out", "levels:\n  # high:\nmode: observe\n", func(c *config.Config) {
			c.Limits.Mode = policy.Observe
		}},
		{"every kind of value", `
levels: {high: {enter: 87.25%, forecast: 1m30s}}
raise: {ceiling: 1000000}
budget: {extension: 256B}
breaker: {acts: 64, max_pause: 2d}
timeouts: {floors: {tcp_timeout_last_ack: 15s, udp_timeout: 10s}}
audit: {max_size: 1MiB, max_age: 0s, path: "/a b", mask: hash}
protect:
  cidr: [10.0.0.0/8, 2001:db8::1]
  ports: [53, 8000-8010]
  marks: [1, 0x10/0xff]
  zones: [0, 65535]
`, func(c *config.Config) {
			l := &c.Limits
			l.Levels.HighEnter, l.Levels.HighForecast = 8725, 90*time.Second
			l.Raise.Ceiling, l.Budget.ExtensionBytes = 1_000_000, 256
			l.Breaker.Acts, l.Breaker.MaxPause = policy.MaxActs, 48*time.Hour
			l.Shorten.Floors[6], l.Shorten.Floors[11] = 15, 10
			c.Audit.MaxSize, c.Audit.MaxAge, c.Audit.Path, c.Audit.Mask = 1<<20, 0, "/a b", config.MaskHash
			c.Protect = conntrack.Protect{
				Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")},
				Ports:    []conntrack.PortRange{{First: 53, Last: 53}, {First: 8000, Last: 8010}},
				Marks:    []conntrack.Mark{{Value: 1, Mask: 0xffffffff}, {Value: 0x10, Mask: 0xff}},
				Zones:    []uint16{0, 65535},
			}
		}},
		{"the least of everything: nothing but watching", `
raise: {ceiling: 0}
hash: {max_ratio: 0}
age: {cap: 0%}
delete: {cap: 0%}
timeouts: {floors: {tcp_timeout_time_wait: 0s}}
`, func(c *config.Config) {
			l := &c.Limits
			l.Raise.Ceiling, l.Hash.MaxRatio, l.Age.Cap, l.Delete.Cap = 0, 0, 0, 0
			l.Shorten.Floors[7] = 0
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := config.Default()
			tt.change(&want)
			got := loaded(t, config.Source{Path: write(t, tt.text), Explicit: true})
			if diff := cmp.Diff(want, *got, values); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLaterSourcesPrevail(t *testing.T) {
	path := write(t, "mode: observe\nlevels:\n  high: {enter: 86%, leave: 70%}\nrestore_after: {calm: 1m}\nprotect: {ports: [1, 2]}\n")
	c := loaded(t, config.Source{
		Path: path,
		Environ: []string{
			"HOME=/", "CTWARDEN_LEVELS_HIGH_ENTER=87%", "CTWARDEN_RESTORE_AFTER_CALM=2m", "CTWARDEN_TEST_HOST=1",
			"CTWARDEN_PROTECT_PORTS=", "CTWARDEN_PROTECT_ZONES=1, 2",
		},
		Flags: map[string]string{"restore_after.calm": "3m"},
	})
	want := config.Default()
	want.Limits.Mode = policy.Observe
	want.Limits.Levels.HighEnter, want.Limits.Levels.HighLeave = 8700, 7000
	want.Limits.Restore.Calm = 3 * time.Minute
	want.Protect.Zones = []uint16{1, 2}
	if diff := cmp.Diff(want, *c, values); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	origins := map[string]string{
		"mode":               path + ":1:7",
		"levels.high.enter":  "environment CTWARDEN_LEVELS_HIGH_ENTER",
		"levels.high.leave":  path + ":3:29",
		"restore_after.calm": "flag restore_after.calm",
		"restore_after.step": "default",
		"protect.ports":      "environment CTWARDEN_PROTECT_PORTS",
	}
	for key, want := range origins {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("origin of %s: got %s, want %s", key, got, want)
		}
	}
}

func TestLoadingAgainReadsAgain(t *testing.T) {
	path := write(t, "mode: observe\n")
	src := config.Source{Path: path}
	first := loaded(t, src)
	if err := os.WriteFile(path, []byte("restore_after: {calm: 1m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := loaded(t, src)
	if first.Limits.Mode != policy.Observe || second.Limits.Mode != policy.Enforce || second.Limits.Restore.Calm != time.Minute {
		t.Errorf("got mode %s, then mode %s and calm %s", first.Limits.Mode, second.Limits.Mode, second.Limits.Restore.Calm)
	}
}

// Whoever may write the configuration decides what is written to the kernel.
func TestAFileThatEverybodyMayWriteIsRefused(t *testing.T) {
	path := write(t, "mode: observe\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for mode, right := range map[fs.FileMode]bool{0o600: true, 0o644: true, 0o664: true, 0o602: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{path, link} {
			_, err := config.Load(config.Source{Path: name})
			want := name + ": expected a file that not everybody may write, found the mode " + mode.String() + "; chmod o-w " + name
			switch {
			case right && err != nil:
				t.Errorf("mode %s: %v", mode, err)
			case !right && (err == nil || err.Error() != want):
				t.Errorf("mode %s: got %v, want %s", mode, err, want)
			}
		}
	}
}

func TestMissingFiles(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "f")
	loaded(t, config.Source{Path: missing})

	if _, err := config.Load(config.Source{Path: missing, Explicit: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was asked for: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := config.Load(config.Source{Explicit: true}); err == nil {
		t.Error("an empty path that was asked for: no error")
	}
	if err := os.Symlink("nowhere", missing); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(config.Source{Path: missing}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link that leads nowhere: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := config.Load(config.Source{Path: write(t, "#") + "/f"}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a path through a file: got %v, want %v", err, syscall.ENOTDIR)
	}
}

func TestUnreadableFile(t *testing.T) {
	path := write(t, "mode: observe\n")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Root may read it all the same; /proc/self/mem opens, and fails
		// when it is read at 0.
		path = "/proc/self/mem"
		if _, err := config.Load(config.Source{Path: path}); !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v, want %v", err, syscall.EIO)
		}
		return
	}
	if _, err := config.Load(config.Source{Path: path}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want %v", err, fs.ErrPermission)
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "f")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	big := write(t, strings.Repeat("# a comment\n", 100_000))
	tests := []struct{ name, path, want string }{
		{"a directory", dir, dir + ": expected a regular file, found a directory"},
		{"a pipe that nobody writes to", pipe, pipe + ": expected a regular file, found a pipe"},
		{"a device that never ends", "/dev/zero", "/dev/zero: expected a regular file, found a device"},
		{"a huge file", big, big + ": expected at most 1MiB, found more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load(config.Source{Path: tt.path})
			var ps config.Problems
			if !errors.As(err, &ps) || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
