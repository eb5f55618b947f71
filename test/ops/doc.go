// Package ops checks the files for operators against the code: profiles, alerts,
// the dashboard and the manifests.
package ops
