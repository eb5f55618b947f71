// Package loop is the loop: it observes, has the policy decide, records the
// intent, acts, records the outcome, and waits for as long as the policy says
// or until the kernel speaks. It is given functions for everything that
// touches the world, so it runs in simulated time as well as on a kernel.
package loop
