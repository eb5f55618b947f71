// Package report describes an incident to a person who has never seen ctwarden: as
// terminal text, Markdown, JSON, or one HTML file that needs nothing else. It
// has one content and several forms; whatever comes from outside is made
// harmless where a form is written.
package report
