// Package sandboxtest makes sandboxes and their traffic for tests.
package sandboxtest
