package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// A setting is a value as it was written, and where.
type setting struct {
	texts  []string
	origin Origin
}

// A layer holds what one source sets, by key.
type layer map[string]setting

// flatLayer reads texts that come one for each key: the environment and the
// flags. A list is written with commas; nothing at all is the empty list.
func flatLayer(given map[string]setting, ks []key, ps *Problems) layer {
	l := layer{}
	for _, k := range ks {
		s, ok := given[k.path]
		if !ok {
			continue
		}
		if k.list {
			s.texts = splitList(s.texts[0])
		}
		if wrong := k.problems(s.texts, s.origin); len(wrong) > 0 {
			*ps = append(*ps, wrong...)
			continue
		}
		l[k.path] = s
	}
	return l
}

func splitList(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// merge lets viper decide which setting prevails: flags over the environment
// over the file over the defaults. It is given whole settings, not texts, so
// that it neither converts a value nor loses where it comes from, and it
// reads neither files nor the process environment itself.
func merge(defaults, file, environment, flags layer) (*viper.Viper, error) {
	v := viper.New()
	for path, s := range defaults {
		v.SetDefault(path, s)
	}
	for _, l := range []layer{file, environment} {
		if err := v.MergeConfigMap(l.tree()); err != nil {
			return nil, fmt.Errorf("merge settings: %w", err)
		}
	}
	for path, s := range flags {
		v.Set(path, s)
	}
	return v, nil
}

// tree returns the layer as nested maps.
func (l layer) tree() map[string]any {
	root := map[string]any{}
	for path, s := range l {
		parts := strings.Split(path, ".")
		node := root
		for _, section := range parts[:len(parts)-1] {
			next, ok := node[section].(map[string]any)
			if !ok {
				next = map[string]any{}
				node[section] = next
			}
			node = next
		}
		node[parts[len(parts)-1]] = s
	}
	return root
}

// defaultLayer returns the settings of Default.
func defaultLayer(ks []key) layer {
	c := Default()
	l := make(layer, len(ks))
	for _, k := range ks {
		l[k.path] = setting{texts: k.get(&c)}
	}
	return l
}

// environmentLayer reads the variables whose names begin with variablePrefix.
func environmentLayer(environ []string, ks []key, ps *Problems) layer {
	byName := make(map[string]string, len(ks))
	for _, k := range ks {
		byName[k.variable()] = k.path
	}
	given := map[string]setting{}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || strings.HasPrefix(name, testPrefix) {
			continue
		}
		origin := Origin{Layer: FromEnvironment, Name: name}
		path, ok := byName[name]
		newName := renamedVariable(name)
		switch {
		case !ok && byName[newName] != "":
			*ps = append(*ps, Problem{Origin: origin, Found: "the variable was renamed", Hint: "set " + newName})
		case !ok:
			*ps = append(*ps, Problem{
				Origin: origin, Found: "unknown variable",
				Hint: didYouMean(name, variables(ks)),
			})
		case given[path].origin != (Origin{}):
			*ps = append(*ps, Problem{Origin: origin, Key: path, Expected: "one value", Found: "a second one"})
		default:
			given[path] = setting{texts: []string{text}, origin: origin}
		}
	}
	return flatLayer(given, ks, ps)
}

// variablePrefix begins the names of the variables that are ours. A typo in
// one of them is an error, so those of the test suite have a prefix of their own.
const (
	variablePrefix = "CTWARDEN_"
	testPrefix     = "CTWARDEN_TEST_"
)

func variables(ks []key) []string {
	names := make([]string, len(ks))
	for i, k := range ks {
		names[i] = k.variable()
	}
	return names
}

// flagLayer reads flags, which are given by key.
func flagLayer(flags map[string]string, ks []key, ps *Problems) layer {
	given := map[string]setting{}
	for path, text := range flags {
		origin := Origin{Layer: FromFlag, Name: path}
		if !slices.ContainsFunc(ks, func(k key) bool { return k.path == path }) {
			*ps = append(*ps, Problem{Origin: origin, Found: unknownKey, Hint: didYouMean(path, paths(ks))})
			continue
		}
		given[path] = setting{texts: []string{text}, origin: origin}
	}
	return flatLayer(given, ks, ps)
}

func paths(ks []key) []string {
	all := make([]string, len(ks))
	for i, k := range ks {
		all[i] = k.path
	}
	return all
}
