package agent

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// JitterOf returns where a host stands among those of a fleet, from 0 to 9999,
// by its boot id. Hosts that are clones of one image have different boot ids,
// which machine ids are not certain to be; a container without an /etc has one,
// too; and the hash tells nobody which host it is.
func JitterOf(boot string) conntrack.Permyriad {
	sum := sha256.Sum256([]byte("ctwarden: place in a fleet\n" + boot))
	return conntrack.Permyriad(binary.BigEndian.Uint64(sum[:]) % 10000)
}
