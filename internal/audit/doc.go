// Package audit keeps the record of ctwarden's observations, decisions and
// actions: an append-only file of JSON lines in which every record carries the
// hash of the one before it, its rotated segments, a copy in the journal, and a
// reader. It decides nothing, and it never removes or overwrites a byte without
// a record of that. Package verify checks the log.
package audit
