// Package census counts what a connection tracking table is made of: how many
// entries of which protocol, state and age, and which talkers have the most of
// them, in constant memory. It is pure: entries come in one by one, a
// Summary or a Census comes out.
package census
