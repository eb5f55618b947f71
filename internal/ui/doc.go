// Package ui draws for people: text within a width, tables, bars, charts for a
// terminal and as SVG, and numbers and times as people read them. It decides
// nothing and knows nothing of incidents and scenarios: callers hand it plain
// values. Except for a terminal's size it computes and does nothing else.
package ui
