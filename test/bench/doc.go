// Command bench measures ctwarden side by side with conntrack-tools and with the
// kernel alone, in one run and in a network namespace of its own, pair by pair
// with alternating order. It prints ratios, which hold on any machine; times do
// not.
package main
