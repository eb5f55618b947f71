package event

import (
	"encoding/json"
	"io"
	"time"
)

// A Package writes the events of one package, which need not be one of Go's. See `go doc test2json`.
type Package struct {
	// Out is written to without a buffer.
	Out io.Writer
	// Name is the first half of the name of each check.
	Name string
}

// An event has the fields of test2json's in their order: readers with a regular expression rely on it.
type event struct {
	Action  string
	Package string
	Test    string  `json:",omitempty"`
	Elapsed float64 `json:",omitempty"`
	Output  string  `json:",omitempty"`
}

// Check writes that a check passed or failed. The output is shown only of one that failed.
func (p Package) Check(name string, ok bool, took time.Duration, output string) error {
	if err := p.write(event{Action: "run", Test: name}); err != nil {
		return err
	}
	if err := p.output(name, output); err != nil {
		return err
	}
	return p.write(event{Action: action(ok), Test: name, Elapsed: took.Seconds()})
}

// End writes that the package passed or failed and, when it failed apart from its checks, why.
func (p Package) End(ok bool, why string) error {
	if err := p.output("", why); err != nil {
		return err
	}
	return p.write(event{Action: action(ok)})
}

func action(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}

func (p Package) output(test, text string) error {
	if text == "" {
		return nil
	}
	return p.write(event{Action: "output", Test: test, Output: text + "\n"})
}

func (p Package) write(e event) error {
	e.Package = p.Name
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = p.Out.Write(append(line, '\n'))
	return err
}
