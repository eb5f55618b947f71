package agent

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/policy"
)

// A Mask replaces addresses in the audit log. The zero Mask leaves them as they are.
type Mask struct {
	kind config.Mask
	key  []byte
}

// newMask makes the mask of a kind. The key of MaskHash is made once and kept in dir,
// so that an address has the same hash after a restart, and another one elsewhere.
func newMask(kind config.Mask, dir string) (Mask, error) {
	m := Mask{kind: kind}
	if kind != config.MaskHash {
		return m, nil
	}
	path := filepath.Join(dir, "mask.key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, sha256.Size)
		if _, err := rand.Read(key); err != nil {
			return m, fmt.Errorf("make key for addresses: %w", err)
		}
		err = os.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return m, fmt.Errorf("read key for addresses: %w", err)
	}
	if len(key) != sha256.Size {
		return m, fmt.Errorf("read key for addresses: %s has %d bytes, expected %d", path, len(key), sha256.Size)
	}
	m.key = key
	return m, nil
}

// addr masks one address: its network (/24, /64), or an address in fd00::/8,
// where no real one of another site is, made of a keyed hash.
func (m *Mask) addr(a netip.Addr) netip.Addr {
	switch {
	case !a.IsValid():
		return a
	case m.kind == config.MaskNet:
		bits := 64
		if a.Unmap().Is4() {
			a, bits = a.Unmap(), 24
		}
		return netip.PrefixFrom(a, bits).Masked().Addr()
	case m.kind == config.MaskHash:
		h := hmac.New(sha256.New, m.key)
		h.Write(a.AsSlice())
		var b [16]byte
		copy(b[:], h.Sum(nil))
		b[0] = 0xfd
		return netip.AddrFrom16(b)
	}
	return a
}

// outcome masks the addresses of an outcome's samples.
func (m *Mask) outcome(out *policy.Outcome) {
	if out.Entries == nil {
		return
	}
	for i := range out.Entries.Samples {
		s := &out.Entries.Samples[i]
		s.Src, s.Dst = m.addr(s.Src), m.addr(s.Dst)
	}
}

// talkers masks the addresses of the top talkers. A hash has no network.
func (m *Mask) talkers(t *census.Talkers) {
	for i := range t.Sources {
		t.Sources[i].Key = m.addr(t.Sources[i].Key)
	}
	for i := range t.Destinations {
		t.Destinations[i].Key = m.addr(t.Destinations[i].Key)
	}
	if m.kind == config.MaskHash {
		t.Networks = nil
	}
}
