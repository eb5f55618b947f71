// Package drilltest makes a drill's stage for tests.
package drilltest
