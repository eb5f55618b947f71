// Package loop observes the tables, has the policy decide, records the intent,
// acts, records the outcome, and waits for the policy's interval or until the
// kernel logs a full table. It reads and changes the host only through the
// functions of Deps, so it runs in simulated time as well as on a kernel.
package loop
