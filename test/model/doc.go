// Model plays one load twice: with real packets in a network namespace of this
// kernel, and in the table that `ctwarden simulate` models. It prints both
// curves side by side, and by how much they differ. It needs root and writes
// two timeouts of its own namespace, nothing of the host.
package main
