package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// leaves returns every value inside v by the path of its field. Slices are
// one value; arrays are taken apart.
func leaves(v reflect.Value, path string) map[string]any {
	all := map[string]any{}
	add := func(v reflect.Value, path string) {
		maps.Copy(all, leaves(v, path))
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				add(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			add(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		all[path] = v.Interface()
	}
	return all
}

// another returns a text that the key accepts and that is not its default.
func another(t *testing.T, k key) string {
	t.Helper()
	c := Default()
	for _, text := range []string{
		"observe", "off", "all", "net", "/x", "1%", "99%", "0.02%", "3h", "61s", "1m", "11s", "20ms", "40ns", "2h", "2d", "64", "3", "7",
		"130B", "2MiB", "127.0.0.1:9871", "/x.prom", "10.0.0.0/8", "53-54", "0x1/0xff", "true",
	} {
		if k.accept(text) && !slices.Equal(k.get(&c), []string{text}) {
			return text
		}
	}
	t.Fatalf("%s: no text to try", k.path)
	return ""
}

func TestEveryFieldHasOneKey(t *testing.T) {
	unset := map[string]bool{}
	c := Default()
	before := leaves(reflect.ValueOf(c), "")
	for path := range before {
		unset[path] = true
	}
	for _, k := range keys() {
		c := Default()
		k.set(&c, []string{another(t, k)})
		var changed []string
		for path, leaf := range leaves(reflect.ValueOf(c), "") {
			if !reflect.DeepEqual(leaf, before[path]) {
				changed = append(changed, path)
			}
		}
		if len(changed) != 1 || !unset[changed[0]] {
			t.Errorf("%s sets %v; want one field that no other key sets", k.path, changed)
		}
		for _, path := range changed {
			delete(unset, path)
		}
	}
	// NoHostWide is the drill's, not the administrator's; NoTimeout is none.
	delete(unset, ".Limits.NoHostWide")
	for i := range conntrack.NumTimeouts {
		if !policy.Shortens(i) {
			delete(unset, fmt.Sprintf(".Limits.Shorten.Floors[%d]", i))
		}
	}
	if len(unset) > 0 {
		t.Errorf("no key sets %v", unset)
	}
}

func TestKeysReadWhatTheyWrite(t *testing.T) {
	for _, k := range keys() {
		c := Default()
		k.set(&c, []string{another(t, k)})
		if ps := k.problems(k.get(&c), Origin{}); len(ps) > 0 {
			t.Errorf("does not accept its own value: %v", ps)
		}
		want := c
		k.set(&c, k.get(&c))
		if changes := Diff(want, c); len(changes) > 0 {
			t.Errorf("%s: read again: %v", k.path, changes)
		}
	}
}

func TestKeyNames(t *testing.T) {
	variables := map[string]string{}
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)
	seen := map[string]bool{}
	for _, k := range keys() {
		// viper lower-cases names and splits them at dots.
		if !name.MatchString(k.path) || seen[k.path] {
			t.Errorf("%q is no name for a key, or is there twice", k.path)
		}
		seen[k.path] = true
		if other := variables[k.variable()]; other != "" {
			t.Errorf("%s is both %s and %s", k.variable(), k.path, other)
		}
		variables[k.variable()] = k.path
		if strings.HasPrefix(k.variable(), testPrefix) {
			t.Errorf("%s cannot be set by %s", k.path, k.variable())
		}
		if !strings.HasSuffix(k.doc, ".") || strings.Contains(k.doc+k.expect, "|") {
			t.Errorf("%s: %q is no sentence for a table", k.path, k.doc)
		}
	}
	for _, k := range keys() {
		for section := k.path; strings.Contains(section, "."); {
			section, _ = split(section)
			if seen[section] {
				t.Errorf("%s is a key and a section", section)
			}
		}
	}
}

func TestBoundsFitTheirFields(t *testing.T) {
	words := regexp.MustCompile(`between (\S+) and (\S+)$`)
	for _, k := range keys() {
		if k.number == nil {
			continue
		}
		found := words.FindStringSubmatch(k.expect)
		if found == nil {
			t.Errorf("%s: no bounds in %q", k.path, k.expect)
			continue
		}
		for _, bound := range found[1:] {
			c := Default()
			k.set(&c, []string{bound})
			fits := false
			for kind := count; kind <= size; kind++ {
				n, ok := kind.parse(bound)
				fits = fits || ok && n == k.number(&c)
			}
			if !k.accept(bound) || !fits {
				t.Errorf("%s: bound %s becomes %d", k.path, bound, k.number(&c))
			}
		}
		least, most := Default(), Default()
		k.set(&least, found[1:2])
		k.set(&most, found[2:3])
		if k.number(&least) >= k.number(&most) {
			t.Errorf("%s: nothing between %s and %s", k.path, found[1], found[2])
		}
	}
}

func TestRulesCompareLikeWithLike(t *testing.T) {
	byPath := map[string]key{}
	for _, k := range keys() {
		byPath[k.path] = k
	}
	for _, r := range rules() {
		low, high := byPath[r.low], byPath[r.high]
		if low.number == nil || high.number == nil {
			t.Fatalf("%v compares what is no number", r)
		}
		// What one is written like, the other is written like.
		c := Default()
		unit := func(k key) string { return strings.TrimLeft(k.get(&c)[0], "0123456789.") }
		if a, b := unit(low), unit(high); (a == "%") != (b == "%") || (a == "") != (b == "") {
			t.Errorf("%v compares %s with %s", r, a, b)
		}
	}
}

func TestPatternsOfNamespaces(t *testing.T) {
	for text, want := range map[string]bool{
		"web-*": true, "blue": true, "prod/api-[0-9]": true, "4026532453": true, "container ab*": true,
		"": false, "[": false, "a\nb": false, "a\xff": false, strings.Repeat("x", 257): false,
	} {
		if _, ok := parsePattern(text); ok != want {
			t.Errorf("%q: accepted %t, want %t", text, ok, want)
		}
	}
}
