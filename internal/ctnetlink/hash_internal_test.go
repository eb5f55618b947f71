package ctnetlink

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// What a dump compares to know that the hash was resized is read at all.
func TestBuckets(t *testing.T) {
	cttest.Count(t, cttest.NewNS(t)) // the module is there
	if buckets() == 0 {
		t.Errorf("%s can't be read", bucketFile)
	}
}
