package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/watcher"
)

// A checker is the host as it is examined.
type checker struct {
	cfg *config.Config
	// root is the directory below which files are read; "" is "/".
	root  string
	own   *netns.NS
	table watcher.Sample
	// foreign is true when this is not the host's own network namespace.
	foreign bool
	found   []Finding
}

// Examine makes all checks, with the rights of this process and in its network
// namespace. What can't be checked is a finding, too: an error is that of not
// knowing the own namespace. An empty file comes and goes in each directory that
// the daemon is to write to.
func Examine(ctx context.Context, cfg *config.Config) (_ []Finding, err error) {
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	p := &checker{cfg: cfg, own: own}
	p.checkCaller(os.Geteuid())
	p.checkSandbox()
	if p.checkTable() {
		p.checkSize()
		p.checkAccess()
		p.checkFiles()
		p.checkNetlink(ctx) // which has the kernel load what is missing
	}
	p.checkSources()
	p.checkStorage()
	p.checkClock()
	p.checkWriters()
	p.checkNamespaces()
	p.checkDaemon(ctx)
	return p.found, nil
}

func (p *checker) add(v Verdict, area, check, fix, format string, args ...any) {
	p.found = append(p.found, Finding{area, check, v, fmt.Sprintf(format, args...), fix})
}

// path is a path below the root.
func (p *checker) path(path string) string { return filepath.Join(cmp.Or(p.root, "/"), path) }
