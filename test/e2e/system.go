package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ctwarden/ctwarden/test/qemu"
)

// A system is a release of Debian.
type system struct{ name, suite string }

// knownSystems are the systems on which the packages are proven. 12 comes first: failures are debugged on it.
func knownSystems() []system {
	return []system{{"12", "bookworm"}, {"13", "trixie"}, {"11", "bullseye"}}
}

// choose returns the systems and roots with these names, all of them when there is no name.
func choose(names []string) (systems []system, roots []root, err error) {
	if len(names) == 0 {
		return knownSystems(), knownRoots(), nil
	}
	for _, name := range names {
		n := len(systems) + len(roots)
		for _, s := range knownSystems() {
			if s.name == name {
				systems = append(systems, s)
			}
		}
		for _, r := range knownRoots() {
			if r.name == name {
				roots = append(roots, r)
			}
		}
		if len(systems)+len(roots) == n {
			return nil, nil, fmt.Errorf("unknown system %q: known are Debian 12, 13 and 11, chroot and rpm", name)
		}
	}
	return systems, roots, nil
}

// contents is what a machine needs beyond the minimum of Debian: rpm installs the other package, curl and openssl fetch
// metrics.
const contents = "systemd,systemd-sysv,dbus,kmod,iproute2,nftables,procps,linux-image-cloud-amd64,initramfs-tools," +
	"rpm,curl,openssl"

// An initrd with these alone boots in a third of the time that one with every driver takes to be unpacked.
const initrdHook = `mkdir -p "$1/etc/initramfs-tools/conf.d" &&
printf 'MODULES=list\nCOMPRESS=gzip\nRESUME=none\n' >"$1/etc/initramfs-tools/conf.d/e2e.conf" &&
printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/etc/initramfs-tools/modules"`

// fetch returns the directory of the installed system below cache. It is made once for the same contents: remove it to get
// a newer one.
func (s system) fetch(ctx context.Context, cache string) (root string, err error) {
	root = filepath.Join(cache, "root-"+s.name)
	list := filepath.Join("e2e", "contents")
	if had, err := os.ReadFile(filepath.Join(root, list)); err == nil && string(had) == contents {
		return root, nil
	}
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	fmt.Printf("e2e: installing Debian %s into a directory\n", s.name)
	work := root + ".new"
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	args := []string{
		"--variant=minbase", "--format=directory", "--mode=root", "--include=" + contents,
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--aptopt=Acquire::Retries \"3\"",
		// The Release file of a suite that is no longer supported expires. Its signature is still checked.
		"--aptopt=Acquire::Check-Valid-Until \"false\"",
		"--essential-hook=" + initrdHook, s.suite, work, "http://deb.debian.org/debian",
	}
	if out, err := exec.CommandContext(ctx, "mmdebstrap", args...).CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("mmdebstrap: %w\n%s", err, qemu.LastLines(out, 20)), os.RemoveAll(work))
	}
	if err := os.Mkdir(filepath.Join(work, "e2e"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(work, list), []byte(contents), 0o644); err != nil {
		return "", err
	}
	// The rename comes last: a directory that exists is complete.
	return root, os.Rename(work, root)
}

// kernel returns the kernel and the initrd of the system.
func (s system) kernel(root string) (image, initrd string, err error) {
	images, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return "", "", fmt.Errorf("%s has %d kernels, want 1 (%w)", root, len(images), err)
	}
	return images[0], strings.Replace(images[0], "vmlinuz-", "initrd.img-", 1), nil
}
