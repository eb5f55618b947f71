package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A kernel is a Debian kernel by the suites that carry it.
type kernel struct {
	name   string
	suites []suiteSource
}

// A suiteSource is one line of an apt source list: an archive and a suite in it.
type suiteSource struct{ archive, suite string }

const (
	archive         = "http://deb.debian.org/debian"
	archiveSecurity = "http://deb.debian.org/debian-security"
	keyring         = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// metaPackage depends on the newest image of a suite. The cloud flavour is a fifth of the size of the generic one and
	// has all of netfilter.
	metaPackage = "linux-image-cloud-amd64"
)

// knownKernels is every kernel that ctwarden is tested on, oldest first. 5.10 is here because it ignores a filter on a
// ctnetlink flush, 6.1 because it is Debian 12's.
func knownKernels() []kernel {
	return []kernel{
		{"5.10", []suiteSource{{archive, "bullseye"}, {archiveSecurity, "bullseye-security"}}},
		{"6.1", []suiteSource{{archive, "bookworm"}, {archiveSecurity, "bookworm-security"}}},
		{"6.12", []suiteSource{{archive, "trixie"}, {archiveSecurity, "trixie-security"}}},
		{"newest", []suiteSource{{archive, "sid"}}},
	}
}

// chooseKernels returns the kernels with these names in the order asked for, all of them when there is no name.
func chooseKernels(names []string) ([]kernel, error) {
	known := knownKernels()
	if len(names) == 0 {
		return known, nil
	}
	var chosen []kernel
	for _, name := range names {
		found := false
		for _, k := range known {
			if k.name == name {
				chosen, found = append(chosen, k), true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown kernel %q: known are 5.10, 6.1, 6.12 and newest", name)
		}
	}
	return chosen, nil
}

// fetch returns the directory of the unpacked kernel package below cache. It downloads only what is not there yet:
// remove the directory to get a newer one. The system's own apt configuration and lists are not read and not written,
// so no root is needed.
func (k kernel) fetch(ctx context.Context, cache string) (root string, err error) {
	root = filepath.Join(cache, k.name, "root")
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	work := filepath.Join(cache, k.name, "fetch")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := k.writeAptConfig(work); err != nil {
		return "", err
	}
	fmt.Printf("vm: downloading kernel %s\n", k.name)
	if _, err := aptCommand(ctx, work, "apt-get", "update"); err != nil {
		return "", err
	}
	depends, err := aptCommand(ctx, work, "apt-cache", "depends", metaPackage)
	if err != nil {
		return "", err
	}
	image, err := imagePackage(depends)
	if err != nil {
		return "", err
	}
	if _, err := aptCommand(ctx, work, "apt-get", "download", image); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download of %s left %d packages, want 1", image, len(debs))
	}
	unpacked := filepath.Join(work, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], unpacked).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", debs[0], err, bytes.TrimSpace(out))
	}
	// The rename comes last: a directory that exists is complete.
	return root, os.Rename(unpacked, root)
}

// writeAptConfig makes a private apt world in work: sources, state, cache and an empty list of installed packages.
func (k kernel) writeAptConfig(work string) error {
	for _, d := range []string{"lists/partial", "archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return err
		}
	}
	var sources strings.Builder
	for _, s := range k.suites {
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, s.archive, s.suite)
	}
	config := fmt.Sprintf(`Dir::Etc::sourcelist %[1]q;
Dir::Etc::sourceparts %[2]q;
Dir::Etc::trustedparts %[2]q;
Dir::Etc::preferencesparts %[2]q;
Dir::Etc::preferences "/dev/null";
Dir::State %[3]q;
Dir::State::lists %[4]q;
Dir::State::status %[5]q;
Dir::Cache %[3]q;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
// The Release file of a suite that is no longer supported expires. Its signature is still checked.
Acquire::Check-Valid-Until "false";
`, filepath.Join(work, "sources.list"), filepath.Join(work, "parts"), work,
		filepath.Join(work, "lists"), filepath.Join(work, "status"))
	for name, text := range map[string]string{"sources.list": sources.String(), "apt.conf": config, "status": ""} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func aptCommand(ctx context.Context, work string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], append([]string{"-q"}, argv[1:]...)...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(work, "apt.conf"), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// imagePackage finds the versioned image in what `apt-cache depends` says of the metapackage.
func imagePackage(depends string) (string, error) {
	m := regexp.MustCompile(`(?m)^\s*Depends: (linux-image-[0-9]\S*)$`).FindStringSubmatch(depends)
	if m == nil {
		return "", fmt.Errorf("%s depends on no versioned image: %q", metaPackage, depends)
	}
	return m[1], nil
}

// findImage returns the path of the kernel in an unpacked package and the kernel's release.
func findImage(root string) (image, release string, err error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return "", "", fmt.Errorf("%s has %d kernel images, want 1", filepath.Join(root, "boot"), len(images))
	}
	return images[0], strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), nil
}
