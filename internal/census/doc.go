// Package census says what a connection tracking table is made of: how many
// entries of which protocol, state and age, and who has the most of them,
// counted in constant memory. It is pure: entries come in one by one, a
// Summary or a Census comes out.
package census
