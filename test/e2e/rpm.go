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

//go:embed rpm.sh
var rpmScript string

// proveRPM installs, upgrades and removes the rpm in a copy of a system, with a package database of its own. There is no
// systemd running in it: what its scriptlets ask of one is proven with the deb.
func proveRPM(ctx context.Context, cache string, p packages, out io.Writer) (told story, err error) {
	system, err := knownSystems()[0].fetch(ctx, cache)
	if err != nil {
		return told, err
	}
	root := filepath.Join(cache, "root-rpm")
	if err := os.RemoveAll(root); err != nil {
		return told, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if err := command(ctx, "cp", "-a", system+"/.", root); err != nil {
		return told, err
	}
	fmt.Println("e2e: installing the rpm into a root of its own")
	// A mount namespace of its own: what is mounted for the scriptlets ends with it. A network namespace, too: the
	// scriptlets revert values, and those of this host are none of their business.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "bash", "-c", rpmScript, "rpm.sh", root, p.oldRPM, p.newRPM)
	cmd.Stderr = out
	port, err := cmd.StdoutPipe()
	if err != nil {
		return told, err
	}
	if err := cmd.Start(); err != nil {
		return told, err
	}
	told = listen(port, out)
	if err := cmd.Wait(); err != nil {
		return told, fmt.Errorf("rpm.sh: %w", err)
	}
	if told.end != "done" {
		return told, errors.New("rpm.sh ended in the middle")
	}
	return told, nil
}
