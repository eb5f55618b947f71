package conntrack

import "math"

// The size of the hash table. An entry stands in two chains, one for each
// direction, so that at max the mean chain has 2*max/buckets entries.
const (
	// BucketBytes is the memory of one bucket.
	BucketBytes = 8
	// EntriesPerBucket is the max/buckets to keep: a mean chain of 8 at max,
	// far below the 50 at which the kernel begins to refuse entries
	// (MIN_CHAINLEN in net/netfilter/nf_conntrack_core.c). A larger hash makes
	// early drop weaker, which scans 8 buckets only.
	EntriesPerBucket = 4
	// MostBuckets is the largest hash that every kernel makes, in whole pages:
	// since Linux 7.0 nf_ct_alloc_hashtable refuses more than INT_MAX bytes.
	MostBuckets = math.MaxInt32 / BucketBytes / pageBuckets * pageBuckets

	pageBuckets = 4096 / BucketBytes
)

// RoundBuckets returns what a kernel with pages of 4 KiB makes of a wanted
// number of buckets: it rounds up to whole pages (nf_ct_alloc_hashtable). It
// returns at most MostBuckets.
func RoundBuckets(n uint64) uint64 {
	return (min(n, MostBuckets) + pageBuckets - 1) / pageBuckets * pageBuckets
}

// Buckets returns the smallest hash that carries limit entries with at most
// perBucket of them for each bucket, as the kernel rounds it and at most
// MostBuckets. It is 0 where perBucket or limit is.
func Buckets(limit, perBucket uint64) uint64 {
	if perBucket == 0 || limit == 0 {
		return 0
	}
	return RoundBuckets((limit-1)/perBucket + 1)
}
