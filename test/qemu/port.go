package qemu

import (
	"bufio"
	"io"
	"strings"
)

// Mark begins a line of the guest that is a message to the host. It is a byte that no test prints.
const Mark = "\x05"

// ReadPort reads the lines of a guest until the port closes. A message, which is a verb and what follows its first space,
// goes to message, and any other line to text, without its end.
func ReadPort(port io.Reader, message func(verb, rest string), text func(line string)) {
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadString('\n')
		ended := err == nil
		line = strings.TrimRight(line, "\r\n")
		if m, ok := strings.CutPrefix(line, Mark); ok {
			verb, rest, _ := strings.Cut(m, " ")
			message(verb, rest)
		} else if ended || line != "" {
			text(line)
		}
		if !ended {
			return
		}
	}
}
