package config

import (
	"errors"
	"fmt"
)

// A Source is where the configuration is to be read from. The zero Source
// gives the defaults.
type Source struct {
	// Path is the configuration file. "" means no file.
	Path string
	// Explicit is true when a person named Path: then it must exist. Otherwise
	// a missing file gives the defaults.
	Explicit bool
	// Environ are variables in the form of os.Environ. CTWARDEN_LEVELS_HIGH_ENTER
	// sets levels.high.enter; any other name that begins with CTWARDEN_ is an
	// error, but for CTWARDEN_TEST_.
	Environ []string
	// Flags are texts by key, as in "mode". Lists are separated by commas.
	Flags map[string]string
}

// Load reads the whole configuration. It returns a valid Config or an error,
// never both and never a part: Problems if something is wrong with what is
// written, or the error of the operating system if the file cannot be read.
// It changes nothing, so that it can be called again at each reload.
func Load(src Source) (*Config, error) {
	var ps Problems
	text, err := readFile(src.Path, src.Explicit)
	if err != nil && !errors.As(err, &ps) {
		return nil, err
	}
	return load(text, src, ps)
}

// load goes on from the text of the file, or from the problems that there
// were in reading it. No text and no problems: there is no file.
func load(text []byte, src Source, ps Problems) (*Config, error) {
	ks := keys()
	file := layer{}
	if text != nil {
		d := readDocument(text, src.Path, ks)
		file, ps = d.values, d.problems
	}
	environment := environmentLayer(src.Environ, ks, &ps)
	flags := flagLayer(src.Flags, ks, &ps)
	v, err := merge(defaultLayer(ks), file, environment, flags)
	if err != nil {
		return nil, err
	}
	c := Config{origins: map[string]Origin{}}
	for _, k := range ks {
		s, ok := v.Get(k.path).(setting)
		if !ok {
			return nil, fmt.Errorf("merge settings: %s is lost", k.path)
		}
		k.set(&c, s.texts)
		c.origins[k.path] = s.origin
	}
	ps = append(ps, c.conflicts(ks, ps)...)
	if err := ps.sorted(); err != nil {
		return nil, err
	}
	return &c, nil
}
