package metrics_test

import "runtime"

func goversion() string { return runtime.Version() }
