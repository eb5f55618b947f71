package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed root.sh
var rootScript string

//go:embed rpm.sh
var rpmScript string

//go:embed chroot.sh
var chrootScript string

// A root is a copy of a system in which packages are installed without a boot: no systemd runs there. What they need
// of one is proven by a machine.
type root struct {
	// name is that of the system. script runs with the directory, the old and the new package.
	name, script string
	packages     func(packages) (older, newer string)
}

func knownRoots() []root {
	return []root{
		// The deb in a chroot, and where there is no systemd at all.
		{"chroot", chrootScript, func(p packages) (string, string) { return p.oldDeb, p.newDeb }},
		// The rpm with a package database of its own.
		{"rpm", rpmScript, func(p packages) (string, string) { return p.oldRPM, p.newRPM }},
	}
}

// prove runs the script in a fresh copy of the first system.
func (r root) prove(ctx context.Context, cache string, p packages, out io.Writer) (checks []check, err error) {
	system, err := knownSystems()[0].fetch(ctx, cache)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "copy-"+r.name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := command(ctx, "cp", "-a", system+"/.", dir); err != nil {
		return nil, err
	}
	fmt.Printf("e2e: installing into a root of its own: %s\n", r.name)
	older, newer := r.packages(p)
	// A mount namespace of its own: the mounts of the scripts end with it. A network namespace, too: the scripts revert
	// values, and must not change those of this host.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "bash", "-c", rootScript+r.script, r.name, dir, older, newer)
	cmd.Stderr = out
	port, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	read := readChecks(port, out)
	if err := cmd.Wait(); err != nil {
		return read.checks, fmt.Errorf("%s.sh: %w", r.name, err)
	}
	if read.end != "done" {
		return read.checks, fmt.Errorf("%s.sh ended in the middle", r.name)
	}
	return read.checks, nil
}
