package config

// Validate returns Problems if a value is out of its bounds or at odds with
// another. Tests make such Configs; Load has validated what it returns.
func (c *Config) Validate() error {
	var ps Problems
	ks := keys()
	for _, k := range ks {
		ps = append(ps, k.problems(k.get(c), c.origins[k.path])...)
	}
	return append(ps, c.conflicts(ks, ps)...).sorted()
}
