package conntrack

import (
	"math"
	"testing"
)

func TestBucketsAreRoundedAsTheKernelDoes(t *testing.T) {
	for _, tt := range []struct{ limit, perBucket, want uint64 }{
		{0, 4, 0},
		{262_144, 0, 0},
		{1, 4, 512},
		{2048, 4, 512},
		{2049, 4, 1024}, // 513 buckets: 512 would carry 4.002 entries each
		{262_144, 4, 65_536},
		{12_000, 4, 3072},
		{math.MaxUint64, 1, MostBuckets},
		{math.MaxUint64, 4, MostBuckets},
	} {
		if got := Buckets(tt.limit, tt.perBucket); got != tt.want {
			t.Errorf("%d entries at %d a bucket: %d buckets, want %d", tt.limit, tt.perBucket, got, tt.want)
		}
	}
	if MostBuckets*BucketBytes > math.MaxInt32 || RoundBuckets(MostBuckets) != MostBuckets {
		t.Errorf("no kernel makes %d buckets", uint64(MostBuckets))
	}
}
