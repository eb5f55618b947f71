// Package diagnosis reports what a connection tracking table is made of, what the
// cause would be if it filled with that, what each act of ctwarden would free
// and cost, and what to change for good. It is given the entries one by one,
// or a text of them, and what was measured beside them; it queries no kernel and
// changes nothing.
package diagnosis
