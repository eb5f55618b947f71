// Package ops checks what operators are given: profiles, alerts, the dashboard
// and the manifests, against the code that they are about.
package ops
