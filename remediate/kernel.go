package remediate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/sysctl"
	"github.com/ctwarden/ctwarden/policy"
)

// Options choose where a Kernel works. The zero Options are the running kernel,
// the process' own namespace, and nothing protected.
type Options struct {
	// Dir holds the ledger; "" is /var/lib/ctwarden.
	Dir string
	// Proc is where procfs is mounted; "" is /proc.
	Proc string
	// Own is the namespace that is 0 in an action. The host-wide values are
	// written in it: the kernel refuses that unless it is the initial one. Nil
	// is the namespace of the process. The Kernel does not close it.
	Own *netns.NS
	// Find returns another namespace by its inode number, or os.ErrNotExist
	// when there is none. The Kernel does not close it. Optional: without it
	// the rows of other namespaces stay in the ledger.
	Find func(inode uint32) (*netns.NS, error)
	// Ephemeral is the inode number of a namespace that only this process
	// holds, such as that of a drill; 0 is none.
	Ephemeral uint32
	// Others returns the entries of the other namespaces: the fullest of all
	// tables delays the return of max, and all entries predict the stall of a
	// resize. Optional: without it only those of Own count.
	Others func() (Others, error)
	// Features are what the kernel's ctnetlink was proven to do. The first
	// entries of an act prove an Unknown feature; No is not tried.
	Features ctnetlink.Features
	Protect  conntrack.Protect
	// Hash bounds the stall of giving the hash back; the zero HashLimits are
	// the policy's defaults.
	Hash policy.HashLimits
	// Now returns the wall clock with its monotonic part, which stands still
	// while the machine is suspended, as the kernel's timeouts do. Nil is
	// time.Now.
	Now func() time.Time
}

// Others counts the entries of the namespaces other than the own one: of the
// fullest, and of all together. The zero Others are none.
type Others struct{ Fullest, All uint64 }

// A Kernel applies actions. Its methods may be called at the same time; changes
// of values run one by one, and a resize of the hash waits for dumps.
type Kernel struct {
	options Options
	sysctls sysctls
	store   store
	lock    *os.File
	boot    string
	notes   []record.Note // of Open, for Reconcile
	closers []func() error

	mu     sync.Mutex // the ledger, and the order of writes
	ledger Ledger
	// A dump holds table for reading, a resize for writing: a dump during a
	// resize skips or repeats entries without an error, and before "netfilter:
	// ctnetlink: fix refcount leak on table dump" (Linux 6.17) could leak an
	// entry.
	table sync.RWMutex

	watching sync.Mutex
	watches  map[uint32]*watch
	protect  conntrack.Protect
}

// Open takes the lock and reads the ledger. It renames a torn ledger, and
// Reconcile returns a note of that. Errors: ErrLocked (a LockedError) when
// another instance runs, ErrUntrusted, or one of the file system. It writes
// nothing to the kernel.
func Open(o Options) (*Kernel, error) {
	k := newKernel(o)
	if err := k.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), k.Close())
	}
	return k, nil
}

func newKernel(o Options) *Kernel {
	if o.Dir == "" {
		o.Dir = "/var/lib/ctwarden"
	}
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hash == (policy.HashLimits{}) {
		o.Hash = policy.Defaults().Hash
	}
	return &Kernel{
		options: o, protect: o.Protect, watches: map[uint32]*watch{},
		sysctls: sysctls{proc: o.Proc}, store: store{dir: o.Dir},
	}
}

func (k *Kernel) open() (err error) {
	if err := k.see(); err != nil {
		return err
	}
	if k.lock, err = k.store.lock(); err != nil {
		return err
	}
	k.closers = append(k.closers, k.lock.Close)
	k.ledger, k.notes, err = k.store.load()
	return err
}

// see reads the id of this boot and opens the own namespace.
func (k *Kernel) see() error {
	boot, err := BootID(k.options.Proc)
	if err != nil {
		return err
	}
	k.boot = boot
	if k.options.Own == nil {
		own, err := netns.Current()
		if err != nil {
			return err
		}
		k.options.Own = own
		k.closers = append(k.closers, own.Close)
	}
	return nil
}

// Close releases the lock. It leaves the kernel as it is.
func (k *Kernel) Close() error {
	var err error
	for _, c := range k.closers {
		err = errors.Join(err, c())
	}
	k.closers = nil
	return err
}

// Ledger returns the values that ctwarden has replaced and not restored.
func (k *Kernel) Ledger() Ledger {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Ledger{Entries: k.ledger.sorted(), History: append([]Released(nil), k.ledger.History...)}
}

// Protect returns the protection: protected entries are neither deleted nor aged.
func (k *Kernel) Protect() conntrack.Protect {
	k.watching.Lock()
	defer k.watching.Unlock()
	return k.protect
}

// SetProtect replaces the protection, from the next action on.
func (k *Kernel) SetProtect(p conntrack.Protect) {
	k.watching.Lock()
	defer k.watching.Unlock()
	k.protect = p
}

// SetHash replaces the bounds of the stall when the hash is restored, from the
// next revert on.
func (k *Kernel) SetHash(h policy.HashLimits) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.options.Hash = h
}

// SetFeatures replaces what ctnetlink was proven to do, from the next action
// on: nf_conntrack was loaded later.
func (k *Kernel) SetFeatures(f ctnetlink.Features) {
	k.watching.Lock()
	defer k.watching.Unlock()
	k.options.Features = f
}

func (k *Kernel) features() ctnetlink.Features {
	k.watching.Lock()
	defer k.watching.Unlock()
	return k.options.Features
}

// Dumping delays a resize of the hash until the caller calls done, after its
// dump of a table. It waits for a resize that runs.
func (k *Kernel) Dumping() (done func()) {
	k.table.RLock()
	return sync.OnceFunc(k.table.RUnlock)
}

// Can returns the permitted writes in a namespace. It opens the files and writes
// nothing; a value whose file it can't open is not writable. Entries is also set
// while it is Unknown whether the kernel compares ids: the first deletion tests
// that.
func (k *Kernel) Can(inode uint32) policy.Kernel {
	var can policy.Kernel
	own := k.options.Own
	_ = own.Do(func() (err error) {
		if can.MaxWritable, err = sysctl.Writable(k.sysctls.path(conntrack.SysctlMax)); err == nil {
			can.BucketsWritable, err = sysctl.Writable(k.sysctls.path(conntrack.SysctlBuckets))
		}
		return err
	})
	ns, err := k.find(inode)
	if err != nil {
		return can
	}
	_ = ns.Do(func() (err error) {
		can.TimeoutsWritable, err = sysctl.Writable(k.sysctls.path(conntrack.UDP.Sysctl()))
		return err
	})
	if c, err := ctnetlink.Dial(ns); err == nil {
		can.Entries = k.features().DeleteByID != ctnetlink.No && c.Close() == nil
	}
	return can
}

// Apply carries out one action of an incident ("" without one) and returns the
// kernel's result. It leaves a value that is not the action's From alone: the
// outcome is ChangedExternally. An action that is only reported (Would) changes
// nothing, and its outcome is not OK.
//
// Between reading a sysctl and writing it lie some microseconds in which another
// program's write is lost: the kernel has no compare-and-set.
func (k *Kernel) Apply(ctx context.Context, incident string, act policy.Action) policy.Outcome {
	start := k.options.Now()
	out := policy.Outcome{Action: act}
	if err := k.apply(ctx, incident, &out); err != nil {
		out.OK, out.Error = false, err.Error()
	}
	out.Took = k.options.Now().Sub(start)
	return out
}

func (k *Kernel) apply(ctx context.Context, incident string, out *policy.Outcome) error {
	act := &out.Action
	if act.Would {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkAction(act); err != nil {
		return err
	}
	if act.Sysctl() == "" {
		return k.sweep(ctx, out)
	}
	ns, err := k.find(act.NetNS)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set(ns, incident, out)
}

// checkAction refuses an action that would go the wrong way.
func checkAction(act *policy.Action) error {
	up := act.To > act.From
	wrong := false
	switch act.Type {
	case policy.AgeEntries, policy.DeleteEntries:
		return nil
	case policy.RaiseMax, policy.ResizeHash, policy.RestoreTimeout:
		wrong = !up // the hash is shrunk by a revert alone
	case policy.RestoreMax:
	case policy.ShortenTimeout:
		wrong = act.To >= act.From
	default:
		return fmt.Errorf("action of type %s: %w", act.Type, ErrInvalid)
	}
	if act.Type.HostWide() && act.NetNS != 0 {
		return fmt.Errorf("%s in netns %d: it is host-wide: %w", act.Type, act.NetNS, ErrInvalid)
	}
	if wrong {
		return fmt.Errorf("%s from %d to %d: %w", act.Type, act.From, act.To, ErrInvalid)
	}
	name := act.Sysctl()
	if !hostWide(name) && (act.Knob == conntrack.NoTimeout || act.Knob >= conntrack.NumTimeouts) {
		return fmt.Errorf("%s without a timeout: %w", act.Type, ErrInvalid)
	}
	// A revert restores From.
	if err := checkValue(name, act.From); err != nil {
		return err
	}
	return checkValue(name, act.To)
}

// find returns the namespace with this inode number; 0 is the own one.
func (k *Kernel) find(inode uint32) (*netns.NS, error) {
	if inode == 0 || inode == k.options.Own.Inode() {
		return k.options.Own, nil
	}
	if k.options.Find == nil {
		return nil, fmt.Errorf("find netns %d: only the own network namespace is known", inode)
	}
	ns, err := k.options.Find(inode)
	if err != nil {
		return nil, fmt.Errorf("find netns %d: %w", inode, err)
	}
	return ns, nil
}

// netnsOf is the number that the ledger has for the namespace of a sysctl.
func netnsOf(name string, ns *netns.NS) uint32 {
	if hostWide(name) {
		return 0
	}
	return ns.Inode()
}

// shown is the number that policy has for a namespace of the ledger.
func (k *Kernel) shown(inode uint32) uint32 {
	if inode == k.options.Own.Inode() {
		return 0
	}
	return inode
}
