package agent

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// JitterOf returns the position of a host in its fleet, from 0 to 9999, by its boot
// id. Clones of one image differ in their boot id, but perhaps not in their machine
// id; a container without /etc has a boot id, too. The hash does not identify the host.
func JitterOf(boot string) conntrack.Permyriad {
	sum := sha256.Sum256([]byte("ctwarden: place in a fleet\n" + boot))
	return conntrack.Permyriad(binary.BigEndian.Uint64(sum[:]) % 10000)
}
