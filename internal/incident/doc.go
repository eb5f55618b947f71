// Package incident reads the record of what happened: it groups audit events
// into incidents by written rules, keeps what a reader needs of them in
// bounded memory, estimates what would have been lost otherwise, and sizes a
// permanent fix. It is pure: events come in one by one, an Incident comes out.
package incident
