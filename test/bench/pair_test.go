package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/ctwarden/ctwarden/internal/census"
)

func TestMedianOf(t *testing.T) {
	for _, test := range []struct {
		list []float64
		want float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3},
	} {
		if got := medianOf(test.list); got != test.want {
			t.Errorf("%v: got %v, want %v", test.list, got, test.want)
		}
	}
}

func TestAlternateReversesTheOrder(t *testing.T) {
	var order []string
	say := func(word string, err error) func() error {
		return func() error { order = append(order, word); return err }
	}
	for i := range 3 {
		if err := alternate(i, say("a", nil), say("b", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	order = nil
	if err := alternate(0, say("a", errors.New("broken")), say("b", nil)); err == nil || len(order) != 1 {
		t.Errorf("%v after %v", err, order)
	}
}

func TestLargestDifference(t *testing.T) {
	truth := census.Summary{Seen: 1000, TimeWait: 500, Assured: 100}
	sample := census.Summary{Seen: 100, TimeWait: 48, Assured: 11}
	if got := largestDifference(truth, sample); got < 1.99 || got > 2.01 {
		t.Errorf("got %v points, want 2", got)
	}
}
