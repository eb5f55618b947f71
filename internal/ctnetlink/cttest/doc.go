// Package cttest makes network namespaces and fills their connection tracking
// tables for tests and benchmarks. It writes its messages with another
// encoder than package ctnetlink, so that neither hides a mistake of the
// other.
package cttest
