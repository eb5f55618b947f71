// Package record has every payload of the audit log as a type, with its kind,
// its priority and its sentence. The loop writes these types, and the readers of
// the log get the same ones. It is pure: it neither reads nor writes a file.
package record
