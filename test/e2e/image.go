package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ctwarden/ctwarden/test/qemu"
)

//go:embed guest.sh
var guestScript []byte

//go:embed storms.sh
var stormsScript string

//go:embed metrics.sh
var metricsScript string

//go:embed live.sh
var liveScript string

// guestUnit runs the script when the system is up. It has no timeout: the machine has one.
const guestUnit = `[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/e2e/guest.sh
StandardOutput=file:/dev/ttyS1
StandardError=inherit
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
`

// smallTable is filled in seconds by an emulated machine. In a hash with many empty buckets the kernel seldom finds an entry
// to drop early, and then it reports a full table.
const smallTable = "install nf_conntrack /sbin/modprobe --ignore-install nf_conntrack hashsize=65536" +
	" && /sbin/sysctl -q -w net.netfilter.nf_conntrack_max=4096\n"

// writeImage makes the disk of a machine: the system, both packages, the script and the flood.
func (s system) writeImage(ctx context.Context, root, name string, p packages) (err error) {
	work := name + ".root"
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(name)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := command(ctx, "cp", "-a", root+"/.", work); err != nil {
		return err
	}
	files := map[string]string{
		"etc/fstab":                      "/dev/vda / ext4 noatime 0 1\n",
		"etc/hostname":                   "e2e\n",
		"etc/modprobe.d/e2e.conf":        smallTable,
		"etc/systemd/system/e2e.service": guestUnit,
		"e2e/plain.yaml":                 "mode: enforce\n",
		"e2e/storms.sh":                  stormsScript,
		"e2e/metrics.sh":                 metricsScript,
		"e2e/live.sh":                    liveScript,
		"e2e/stage":                      "first\n",
		"e2e/old.version":                p.oldVersion + "\n",
	}
	for file, text := range files {
		file = filepath.Join(work, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(work, "e2e/guest.sh"), guestScript, 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{
		p.oldDeb: "e2e/old.deb", p.newDeb: "e2e/new.deb", p.oldRPM: "e2e/old.rpm", p.newRPM: "e2e/new.rpm", p.flood: "e2e/flood",
	} {
		if err := command(ctx, "cp", from, filepath.Join(work, to)); err != nil {
			return err
		}
	}
	// The journal is to be on the disk, and nothing else is to run.
	if err := os.MkdirAll(filepath.Join(work, "var/log/journal"), 0o755); err != nil {
		return err
	}
	wants := filepath.Join(work, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../e2e.service", filepath.Join(wants, "e2e.service")); err != nil {
		return err
	}
	for _, unit := range []string{"apt-daily.timer", "apt-daily-upgrade.timer", "serial-getty@ttyS0.service", "systemd-timesyncd.service"} {
		link := filepath.Join(work, "etc/systemd/system", unit)
		if err := errors.Join(os.RemoveAll(link), os.Symlink("/dev/null", link)); err != nil {
			return err
		}
	}
	return command(ctx, "mke2fs", "-q", "-t", "ext4", "-d", work, name, "1400M")
}

func command(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, qemu.LastLines(out, 20))
	}
	return nil
}
