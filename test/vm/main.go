package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/test/qemu"
)

// guestArg is the argument of init in the kernel's command line: guest and host are one program.
const guestArg = "guest"

func main() {
	if len(os.Args) > 1 && os.Args[1] == guestArg {
		runGuest()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm: error:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context) (ok bool, err error) {
	names := flag.String("kernels", "", "kernels to boot, separated by spaces (default: all)")
	cache := flag.String("cache", ".cache/vm", "directory for downloads, binaries and logs")
	only := flag.String("only", "", "run only the tests that match this expression")
	memory := flag.Int("memory", 2048, "memory of a machine in MiB")
	timeout := flag.Duration("timeout", 15*time.Minute, "time a machine may take, boot included")
	flag.Parse()
	if flag.NArg() > 0 {
		return false, fmt.Errorf("unexpected argument %q: the packages are listed in test/vm/suite.go", flag.Arg(0))
	}
	kernels, err := chooseKernels(strings.Fields(*names))
	if err != nil {
		return false, err
	}
	for _, tool := range []string{"go", "qemu-system-x86_64", "apt-get", "dpkg-deb", "xz"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false, err
		}
	}
	// The programs run with other working directories.
	if *cache, err = filepath.Abs(*cache); err != nil {
		return false, err
	}

	fmt.Println("vm: building static test binaries")
	suite, err := buildSuite(ctx, ".", filepath.Join(*cache, "bin"), *only)
	if err != nil {
		return false, err
	}
	ok = true
	for _, k := range kernels {
		if errors.Is(ctx.Err(), context.Canceled) {
			return false, ctx.Err()
		}
		column := column{kernel: k.name}
		start := time.Now()
		column.results, column.err = bootKernel(ctx, k, suite, filepath.Join(*cache, k.name), qemu.Machine{Memory: *memory, Timeout: *timeout})
		column.took = time.Since(start)
		passed, err := column.report(os.Stdout, suite.jobs)
		if err != nil {
			return false, err
		}
		ok = ok && passed
	}
	return ok, nil
}

// bootKernel fetches a kernel and boots it with the suite. It returns the results that arrived, which may be some even when
// it returns an error. Its directory keeps what kernel and guest wrote.
func bootKernel(ctx context.Context, k kernel, s suite, dir string, m qemu.Machine) (results []result, err error) {
	root, err := k.fetch(ctx, filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	image, moduleDir, release, err := find(root)
	if err != nil {
		return nil, err
	}
	modules, err := loadOrder(moduleDir)
	if err != nil {
		return nil, fmt.Errorf("order modules: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m.Kernel, m.Initrd, m.CommandLine = image, filepath.Join(dir, "initrd"), "-- "+guestArg
	m.Console, m.Guest = filepath.Join(dir, "console.log"), filepath.Join(dir, "tests.log")
	if err := writeInitrd(m.Initrd, s, modules); err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	fmt.Printf("vm: booting %s\n", release)
	err = m.Run(ctx, func(port io.Reader) error {
		var err error
		results, err = readResults(port, os.Stdout)
		return err
	})
	return results, err
}
