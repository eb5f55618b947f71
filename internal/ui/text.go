package ui

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Wrap breaks text between words into lines of at most width columns. A wider
// word is never cut, so that it can be copied: it has a line of its own.
// Without words there is one empty line.
func Wrap(text string, width int) []string {
	var lines []string
	line, columns := "", 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case columns == 0:
			line, columns = word, n
		case columns+1+n > width:
			lines = append(lines, line)
			line, columns = word, n
		default:
			line, columns = line+" "+word, columns+1+n
		}
	}
	return append(lines, line)
}

// Fold breaks text into lines that are never wider than width columns (0 counts
// as 1): between words, and within a word that is wider. Spaces within a line
// are kept.
func Fold(text string, width int) []string {
	width = max(width, 1)
	var lines []string
	rest := []rune(strings.TrimRight(text, " "))
	for len(rest) > width {
		end := width
		for end > 0 && rest[end] != ' ' {
			end--
		}
		if end == 0 {
			end = width
		}
		lines = append(lines, strings.TrimRight(string(rest[:end]), " "))
		rest = []rune(strings.TrimLeft(string(rest[end:]), " "))
	}
	return append(lines, string(rest))
}

// Indent returns as many spaces as text has columns.
func Indent(text string) string { return strings.Repeat(" ", utf8.RuneCountInString(text)) }

// Clip returns at most n characters of text, the last an ellipsis where some
// are missing.
func Clip(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

// plainWord is a word that no shell changes.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quote returns words as a POSIX shell takes them, to be pasted.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for n, word := range words {
		if quoted[n] = word; !plainWord.MatchString(word) {
			quoted[n] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// ASCII replaces the characters of Plot and Fold by those that every terminal
// has, and any other character by a question mark.
func ASCII(text string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '─':
			return '-'
		case '│', '┤':
			return '|'
		case '┼':
			return '+'
		case '╭', '╮', '…':
			return '.'
		case '╰', '╯':
			return '\''
		}
		if c > '~' {
			return '?'
		}
		return c
	}, text)
}
