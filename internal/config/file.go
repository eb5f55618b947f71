package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// maxFileBytes bounds the file: the reference with every key is some 20 KiB.
const maxFileBytes = 1 << 20

// readFile reads the configuration file; nil if it is the default file and
// there is none.
func readFile(path string, explicit bool) ([]byte, error) {
	if path == "" {
		if explicit {
			return nil, errors.New("read configuration: expected a path, found an empty one")
		}
		return nil, nil
	}
	// A link that leads nowhere is not a missing file: a person put it there.
	if _, err := os.Lstat(path); !explicit && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	// Opening a pipe without O_NONBLOCK would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	whole := Origin{Layer: FromFile, Name: path}
	if !st.Mode().IsRegular() {
		return nil, Problems{{Origin: whole, Expected: "a regular file", Found: typeName(st.Mode())}}
	}
	if mode := st.Mode().Perm(); mode&0o002 != 0 {
		return nil, Problems{{
			Origin: whole, Expected: "a file that not everybody may write", Found: "the mode " + mode.String(),
			Hint: "chmod o-w " + printable(path, maxFileBytes),
		}}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, Problems{{Origin: whole, Expected: "at most " + formatSize(maxFileBytes), Found: "more"}}
	}
	return text, nil
}

// typeName names the type of a file that is not regular.
func typeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}

// checkText finds what YAML takes badly or explains badly: bytes that are
// not text, and tabs before the first word of a line.
func checkText(text []byte, origin Origin) Problems {
	var ps Problems
	if len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))) == 0 {
		return Problems{{
			Origin: origin, Expected: "a key or at least a comment", Found: "an empty file",
			Hint: "a file that was cut off must not pass for the defaults",
		}}
	}
	line := 0
	for row := range bytes.Lines(text) {
		line++
		origin.Line = line
		if p, ok := checkLine(row, origin); !ok {
			ps = append(ps, p)
		}
		if len(ps) == maxProblems {
			break
		}
	}
	return ps
}

// checkLine returns the first problem of one line.
func checkLine(row []byte, origin Origin) (Problem, bool) {
	indent := true
	for i, column := 0, 1; i < len(row); column++ {
		r, n := utf8.DecodeRune(row[i:])
		origin.Column = column
		switch {
		case r == utf8.RuneError && n == 1:
			return Problem{Origin: origin, Expected: "UTF-8 text", Found: fmt.Sprintf("the byte 0x%02x", row[i])}, false
		case r == '\t' && indent:
			return Problem{Origin: origin, Expected: "spaces to indent with", Found: "a tab"}, false
		case unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r':
			return Problem{Origin: origin, Expected: "text", Found: fmt.Sprintf("the control character %U", r)}, false
		}
		indent = indent && r == ' '
		i += n
	}
	return Problem{}, true
}
