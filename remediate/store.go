package remediate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/record"
)

const (
	ledgerName = "ledger.json"
	spareName  = "ledger.json.new"
	lockName   = "ledger.lock"
	// ledgerMost is more than any ledger takes: 7 timeouts in a few thousand
	// namespaces. A store neither reads nor writes a larger one.
	ledgerMost = 16 << 20
	asideMost  = 1000
)

// ErrUntrusted reports that another user could have made a file or directory of
// the ledger: it is a link, has another owner, or every user may write it.
var ErrUntrusted = errors.New("not trusted")

// ErrLocked reports that another instance holds the ledger; a LockedError names
// it.
var ErrLocked = errors.New("another instance is running")

// A LockedError names the process that holds the ledger.
type LockedError struct {
	// PID is the process that wrote its number last; 0 if that is not known.
	PID  int
	Path string
}

// Error names the process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("lock %s: %v", e.Path, ErrLocked)
	}
	return fmt.Sprintf("lock %s: %v: process %d", e.Path, ErrLocked, e.PID)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// A store keeps the ledger's file in a directory.
type store struct {
	dir   string
	fault func(step string) error // nil but in tests
}

func (s store) at(step string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(step)
}

func (s store) path(name string) string { return filepath.Join(s.dir, name) }

// lock takes the lock, which ends with the process however it ends. It makes
// the directory if it is not there.
func (s store) lock() (*os.File, error) {
	if err := os.Mkdir(s.dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	f, err := s.open(lockName, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("lock ledger: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		text, _ := io.ReadAll(io.LimitReader(f, 16)) // the number is a kindness
		pid, _ := strconv.Atoi(string(text))
		return nil, &LockedError{PID: pid, Path: f.Name()}
	}
	// Not needed for the lock, so that a full disk does not hinder a revert.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return f, nil
}

// open opens a file of the store. A file that it makes belongs to the owner of
// the directory, so that a revert by root does not lock out the daemon, which
// is not root.
func (s store) open(name string, flags int) (*os.File, error) {
	dir, err := owner(os.Stat(s.dir))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(name), flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: %w", s.path(name), ErrUntrusted)
	}
	if err != nil {
		return nil, err
	}
	if err := s.adopt(f, dir, flags&os.O_CREATE != 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s store) adopt(f *os.File, dir *syscall.Stat_t, made bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, err := owner(info, nil)
	if err != nil {
		return err
	}
	euid := uint32(os.Geteuid())
	switch {
	case dir.Mode&unix.S_IFMT != unix.S_IFDIR || dir.Mode&0o002 != 0:
		return fmt.Errorf("%s is not a directory that is safe from everybody: %w", s.dir, ErrUntrusted)
	case dir.Uid != euid && euid != 0:
		return fmt.Errorf("%s belongs to uid %d: %w", s.dir, dir.Uid, ErrUntrusted)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file: %w", f.Name(), ErrUntrusted)
	case stat.Uid != euid && stat.Uid != dir.Uid:
		return fmt.Errorf("%s belongs to uid %d: %w", f.Name(), stat.Uid, ErrUntrusted)
	case stat.Nlink > 1:
		return fmt.Errorf("%s has another name: %w", f.Name(), ErrUntrusted)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others: %w", f.Name(), ErrUntrusted)
	case made && stat.Uid != dir.Uid:
		return f.Chown(int(dir.Uid), int(dir.Gid))
	}
	return nil
}

func owner(info os.FileInfo, err error) (*syscall.Stat_t, error) {
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return stat, nil
}

// read returns the ledger as it stands on disk. A missing file is the zero
// Ledger; errTorn is a file that can't be trusted.
func (s store) read() (Ledger, error) {
	f, err := s.open(ledgerName, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return Ledger{}, nil
	}
	if err != nil {
		return Ledger{}, fmt.Errorf("read ledger: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ledgerMost+1))
	if err != nil {
		return Ledger{}, fmt.Errorf("read ledger: %w", err)
	}
	if len(text) > ledgerMost {
		return Ledger{}, fmt.Errorf("read ledger: %w: more than %d bytes", errTorn, ledgerMost)
	}
	l, err := decodeLedger(text)
	if err != nil {
		return Ledger{}, fmt.Errorf("read ledger: %w", err)
	}
	return l, nil
}

// load is read, but renames a torn file and returns a note of that.
func (s store) load() (Ledger, []record.Note, error) {
	l, err := s.read()
	if err == nil {
		return l, nil, nil
	}
	if !errors.Is(err, errTorn) {
		return Ledger{}, nil, err
	}
	aside, asideErr := s.setAside()
	if asideErr != nil {
		return Ledger{}, nil, errors.Join(err, asideErr)
	}
	return Ledger{}, []record.Note{{Kind: record.NoteSetAside, Path: aside, Error: err.Error()}}, nil
}

// setAside renames the ledger to a name that is free.
func (s store) setAside() (string, error) {
	for n := 1; n <= asideMost; n++ {
		aside := s.path(ledgerName + ".torn-" + strconv.Itoa(n))
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(s.path(ledgerName), aside); err != nil {
			return "", fmt.Errorf("set ledger aside: %w", err)
		}
		if err := s.syncDir(); err != nil {
			return "", fmt.Errorf("set ledger aside: %w", err)
		}
		return aside, nil
	}
	return "", fmt.Errorf("set ledger aside: %d torn ledgers are there already", asideMost)
}

// save replaces the ledger: when it returns nil the new one is on the disk, and
// a failure or crash before that leaves the old one whole.
func (s store) save(l Ledger) error {
	if err := s.replace(l); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

func (s store) replace(l Ledger) error {
	text, err := l.encode()
	if err != nil {
		return err
	}
	if len(text) > ledgerMost {
		return fmt.Errorf("%d bytes are more than the %d that are read", len(text), ledgerMost)
	}
	// A crash left that file: the lock proves that no process writes it.
	if err := os.Remove(s.path(spareName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.at("ledger create"); err != nil {
		return err
	}
	f, err := s.open(spareName, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err := s.fill(f, text); err != nil {
		return errors.Join(err, f.Close(), os.Remove(s.path(spareName)))
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := s.at("ledger rename"); err != nil {
		return err
	}
	if err := os.Rename(s.path(spareName), s.path(ledgerName)); err != nil {
		return err
	}
	return s.syncDir()
}

func (s store) fill(f *os.File, text []byte) error {
	if err := s.at("ledger write"); err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := s.at("ledger sync"); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes the names of the directory durable.
func (s store) syncDir() error {
	if err := s.at("ledger sync directory"); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
