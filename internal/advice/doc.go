// Package advice is the permanent fix for a table that filled, and its text:
// the sizes and timeouts to set, the files of sysctl.d, modprobe.d, nftables
// and iptables, and the sentences of diagnose. It is pure: Facts come in, a Fix
// or Items come out.
package advice
