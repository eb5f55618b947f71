// Package status is the state of a daemon at one moment: its tables, its
// sources, its audit log and the kernel values that it changed. The agent makes
// it, the control socket sends it as JSON, and the screen, the metrics, the
// Nagios plugin and the doctor are made from it.
package status
