// Package tablesim models the connection tracking tables of one host under
// load, in simulated time: arrivals by class, lifetimes by timeout, early drop,
// the kernel's gc, hash chains, memory and the rate limited log. It shows a
// policy what ctwarden would observe and carries out its actions. It is
// deterministic and pure: the same scenario gives the same result anywhere.
package tablesim
