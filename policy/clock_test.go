package policy_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/policy"
)

// eachMoment calls fn with every moment in v.
func eachMoment(v reflect.Value, path string, fn func(path string, m *policy.BootTime)) {
	switch {
	case v.Type() == reflect.TypeFor[policy.BootTime]():
		fn(path, v.Addr().Interface().(*policy.BootTime))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			eachMoment(v.Field(i), path+"."+v.Type().Field(i).Name, fn)
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			eachMoment(v.Index(i), path, fn)
		}
	}
}

// A moment that stays in the future would block whatever waits for it.
func TestAClockThatWentBackShiftsEveryMoment(t *testing.T) {
	l := policy.Defaults()
	o := steadyObservations()["calm"]
	before := o.Now.Add(24 * time.Hour)
	var s policy.State
	n := 0
	eachMoment(reflect.ValueOf(&s).Elem(), "State", func(_ string, m *policy.BootTime) { *m, n = before, n+1 })
	if n < 100 {
		t.Fatalf("%d moments", n)
	}
	a := l.Assess(&s, &o)
	p := l.Decide(&s, &a)
	next := s.Next(&l, &p, nil)
	eachMoment(reflect.ValueOf(&next).Elem(), "State", func(path string, m *policy.BootTime) {
		if *m > o.Now {
			t.Errorf("%s is %s in the future", path, m.Since(o.Now))
		}
	})
}

// A record may hold any value, and each has a text.
func TestEveryValueHasAText(t *testing.T) {
	for v := range 256 {
		for _, text := range []string{
			policy.Reason(v).Sentence(), policy.Hold(v).Sentence(), policy.Reason(v).String(), policy.Result(v).String(),
			policy.ActionType(v).String(), policy.Class(v).String(), policy.Cause(v).String(), policy.Level(v).String(),
			policy.Eligibility(v).String(), policy.ExternalChange(v).String(), policy.Mode(v).String(),
		} {
			if text == "" {
				t.Errorf("value %d has no text", v)
			}
		}
	}
}
