package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/test/qemu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := proveAll(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: error:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func proveAll(ctx context.Context) (ok bool, err error) {
	names := flag.String("systems", "", "releases of Debian to boot, separated by spaces, and chroot and rpm (default: all)")
	cache := flag.String("cache", ".cache/e2e", "directory for systems, disks, packages and logs")
	memory := flag.Int("memory", 1536, "memory of a machine in MiB")
	timeout := flag.Duration("timeout", 40*time.Minute, "time that one boot of a machine may take")
	flag.Parse()
	if os.Geteuid() != 0 {
		return false, errors.New("installing a system into a directory needs root")
	}
	systems, roots, err := choose(strings.Fields(*names))
	if err != nil {
		return false, err
	}
	if *cache, err = filepath.Abs(*cache); err != nil {
		return false, err
	}
	built, err := buildPackages(ctx, *cache)
	if err != nil {
		return false, err
	}
	ok = true
	prove := func(name string, run func() ([]check, error)) {
		start := time.Now()
		checks, end := run()
		passed, failure := report(os.Stdout, name, checks, end, time.Since(start))
		ok, err = ok && passed, errors.Join(err, failure)
	}
	for _, s := range systems {
		prove("Debian "+s.name, func() ([]check, error) {
			return s.prove(ctx, *cache, built, qemu.Machine{Memory: *memory, Timeout: *timeout})
		})
	}
	for _, r := range roots {
		prove(r.name, func() ([]check, error) { return r.prove(ctx, *cache, built, os.Stdout) })
	}
	return ok, err
}

// prove makes a fresh disk and boots it.
func (s system) prove(ctx context.Context, cache string, p packages, m qemu.Machine) ([]check, error) {
	root, err := s.fetch(ctx, cache)
	if err != nil {
		return nil, err
	}
	if m.Kernel, m.Initrd, err = s.kernel(root); err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "log-"+s.name)
	m.Disk, m.CommandLine = filepath.Join(dir, "disk"), "root=/dev/vda rw"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.writeImage(ctx, root, m.Disk, p); err != nil {
		return nil, err
	}
	fmt.Printf("e2e: booting Debian %s\n", s.name)
	return run(ctx, m, dir, os.Stdout)
}

// packages are the two versions under test, the second an upgrade of the first.
type packages struct {
	oldDeb, newDeb, oldRPM, newRPM, flood string
	oldVersion                            string
}

// buildPackages builds both versions and the flood. The second version is the first with a digit more.
func buildPackages(ctx context.Context, cache string) (p packages, err error) {
	out, err := exec.CommandContext(ctx, "packaging/version").Output()
	if err != nil {
		return p, fmt.Errorf("packaging/version: %w", err)
	}
	p.oldVersion = strings.TrimSpace(string(out))
	for dir, version := range map[string]string{"old": p.oldVersion, "new": p.oldVersion + ".1"} {
		fmt.Printf("e2e: building the packages of %s\n", version)
		cmd := exec.CommandContext(ctx, "packaging/build", "packages")
		cmd.Env = append(os.Environ(), "ARCHES=amd64", "PKG_VERSION="+version, "DIST="+filepath.Join(cache, dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("packaging/build: %w\n%s", err, qemu.LastLines(out, 20))
		}
	}
	for name, pattern := range map[*string]string{
		&p.oldDeb: "old/*.deb", &p.newDeb: "new/*.deb", &p.oldRPM: "old/*.rpm", &p.newRPM: "new/*.rpm",
	} {
		found, err := filepath.Glob(filepath.Join(cache, pattern))
		if err != nil || len(found) != 1 {
			return p, fmt.Errorf("%s matches %d files, want 1 (%w)", pattern, len(found), err)
		}
		*name = found[0]
	}
	p.flood = filepath.Join(cache, "flood")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", p.flood, "./test/e2e/flood")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build flood: %w\n%s", err, out)
	}
	return p, nil
}
