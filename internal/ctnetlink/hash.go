package ctnetlink

import (
	"os"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// bucketFile is read in any namespace: all of them share one hash since Linux
// 4.8.
const bucketFile = "/proc/sys/" + conntrack.SysctlDir + "/" + conntrack.SysctlBuckets

// buckets is the size of the hash, 0 if it can't be read.
func buckets() uint64 {
	text, err := os.ReadFile(bucketFile)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
