package config

import "strings"

// A rule requires one value to be below another, or not above it. A value of 0
// switches something off, so that there is nothing to compare.
type rule struct {
	low, high string
	equal     bool // may be equal
}

// rules returns what must hold between two keys.
func rules() []rule {
	return []rule{
		// Without a gap between leave and enter, a level would flap.
		{"levels.elevated.leave", "levels.elevated.enter", false},
		{"levels.high.leave", "levels.high.enter", false},
		{"levels.exhausted.leave", "levels.exhausted.enter", false},
		{"levels.elevated.enter", "levels.high.enter", false},
		{"levels.high.enter", "levels.exhausted.enter", false},
		{"levels.elevated.leave", "levels.high.leave", true},
		{"levels.high.leave", "levels.exhausted.leave", true},
		{"levels.elevated.forecast_fill", "levels.elevated.enter", true},
		{"levels.high.forecast", "levels.elevated.forecast", true},
		// Below leave, a kernel message would enter a level that is left at
		// the next sample.
		{"levels.exhausted.leave", "levels.exhausted.near_max", true},
		{"sampling.min", "sampling.high", true},
		{"sampling.high", "sampling.calm", true},
		{"raise.min_step", "raise.max_step", true},
		{"raise.useful_step", "raise.min_step", true},
		{"hash.max_ratio", "hash.storm_ratio", true},
		{"hash.calm_fill", "levels.elevated.enter", true},
		{"delete.min_idle", "delete.syn_sent_idle", true},
		{"breaker.pause", "breaker.max_pause", true},
		{"backoff.pause", "backoff.max_pause", true},
		{"audit.max_size", "audit.keep_size", true},
		{"audit.max_age", "audit.keep_age", true},
	}
}

// conflicts returns the rules that c breaks, but for those about keys that
// are among the known problems: their values are not what was meant.
func (c *Config) conflicts(ks []key, known Problems) Problems {
	byPath := make(map[string]key, len(ks))
	for _, k := range ks {
		byPath[k.path] = k
	}
	var ps Problems
	for _, r := range rules() {
		low, high := byPath[r.low], byPath[r.high]
		a, b := low.number(c), high.number(c)
		if a == 0 || b == 0 || a < b || a == b && r.equal || known.explains(r.low) || known.explains(r.high) {
			continue
		}
		ps = append(ps, c.conflict(r, low, high))
	}
	return append(ps, c.samePaths(byPath, known)...)
}

// conflict describes a broken rule where a person would fix it: at the value
// that prevails over the other.
func (c *Config) conflict(r rule, low, high key) Problem {
	subject, other, relation := low, high, "less than "
	if c.origins[high.path].Layer > c.origins[low.path].Layer {
		subject, other, relation = high, low, "more than "
	}
	if r.equal {
		relation = map[string]string{"less than ": "at most ", "more than ": "at least "}[relation]
	}
	text := other.get(c)[0]
	if d := Default(); text == other.get(&d)[0] && c.origins[other.path] == (Origin{}) {
		text += ", the default"
	}
	return Problem{
		Origin: c.origins[subject.path], Key: subject.path,
		Expected: relation + other.path + " (" + text + ")", Found: subject.quoted(subject.get(c)[0]),
	}
}

// samePaths finds two things that were given one path.
func (c *Config) samePaths(byPath map[string]key, known Problems) Problems {
	var ps Problems
	users := map[string]string{}
	for _, path := range []string{"audit.path", "state.dir", "control.socket", "metrics.web_config", "metrics.textfile"} {
		if known.explains(path) {
			continue
		}
		text := byPath[path].get(c)[0]
		if text == "" {
			continue
		}
		if user, taken := users[text]; taken {
			ps = append(ps, Problem{
				Origin: c.origins[path], Key: path,
				Expected: "another path than that of " + user, Found: quote(text),
			})
		}
		users[text] = path
	}
	return ps
}

// explains reports whether a problem may be why the value of a key is not what
// was meant: it is the key's own, or its section's, or that of an unknown key
// beside it, or the file could not be read at all.
func (ps Problems) explains(path string) bool {
	for _, p := range ps {
		section, _ := split(p.Key)
		switch {
		case p.Key == "":
			if p.Origin.Layer == FromFile {
				return true
			}
		case p.Key == path, strings.HasPrefix(path, p.Key+"."):
			return true
		case (p.Found == unknownKey || p.Found == renamedKey) && strings.HasPrefix(path, section+"."):
			return true
		}
	}
	return false
}
