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

// chooseKernels returns the kernels with these names in this order, all of them when there is no name.
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
	packages, err := k.packages(ctx, work)
	if err != nil {
		return "", err
	}
	if _, err := aptCommand(ctx, work, append([]string{"apt-get", "download"}, packages...)...); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != len(packages) {
		return "", fmt.Errorf("download of %s left %d packages", packages, len(debs))
	}
	unpacked := filepath.Join(work, "root")
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, unpacked).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w: %s", deb, err, bytes.TrimSpace(out))
		}
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

// packages names the packages that make up the newest kernel of the suites. Until Debian 13 an image package has the
// kernel and its modules; later it depends on packages for each.
func (k kernel) packages(ctx context.Context, work string) ([]string, error) {
	depends, err := aptCommand(ctx, work, "apt-cache", "depends", metaPackage)
	if err != nil {
		return nil, err
	}
	image := dependencies(depends, "linux-image-[0-9]")
	if len(image) != 1 {
		return nil, fmt.Errorf("%s depends on %d versioned images, want 1: %q", metaPackage, len(image), depends)
	}
	if depends, err = aptCommand(ctx, work, "apt-cache", "depends", image[0]); err != nil {
		return nil, err
	}
	return append(image, dependencies(depends, "linux-(base|binary|modules)-[0-9]")...), nil
}

// dependencies finds the packages that begin with an expression in the output of `apt-cache depends`.
func dependencies(depends, begin string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s*Depends: (`+begin+`\S*)$`).FindAllStringSubmatch(depends, -1) {
		names = append(names, m[1])
	}
	return names
}

// find returns the kernel and the directory of its modules in an unpacked package. Debian 13 moved /lib to /usr/lib.
func find(root string) (image, modules, release string, err error) {
	var images, dirs []string
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "usr/lib/linux/*/vmlinuz*"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", "", "", err
		}
		images = append(images, names...)
	}
	for _, pattern := range []string{"lib/modules/*", "usr/lib/modules/*"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", "", "", err
		}
		dirs = append(dirs, names...)
	}
	if len(images) != 1 || len(dirs) != 1 {
		return "", "", "", fmt.Errorf("%s has the kernels %q and the modules %q, want one of each", root, images, dirs)
	}
	return images[0], dirs[0], filepath.Base(dirs[0]), nil
}
