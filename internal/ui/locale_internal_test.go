package ui

import "testing"

func TestWhatALocaleDraws(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"none is that of C":               {nil, false},
		"LANG":                            {map[string]string{"LANG": "de_DE.UTF-8"}, true},
		"another spelling":                {map[string]string{"LANG": "C.utf8"}, true},
		"LC_ALL outranks LANG":            {map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C"}, false},
		"LC_CTYPE outranks LANG":          {map[string]string{"LANG": "C", "LC_CTYPE": "C.UTF-8"}, true},
		"an empty one counts for nothing": {map[string]string{"LANG": "C.UTF-8", "LC_ALL": ""}, true},
		"Latin-1":                         {map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
	} {
		if got := utf8Locale(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
