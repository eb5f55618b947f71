// Package config turns the configuration file, the environment and the
// command line into one whole, typed Config, or into every problem at once,
// each with its file and line. All keys are declared in one table, which the
// loader, the effective view, the reference and the comparison of two
// configurations share. It watches nothing and keeps no state.
package config
