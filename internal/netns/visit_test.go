package netns_test

import (
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"errors"

	"github.com/ctwarden/ctwarden/internal/netns"
)

func TestVisitEntersEachAndReturnsAfterAFailure(t *testing.T) {
	one, two := newNS(t), newNS(t)
	path := func(ns *netns.NS) string { return fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd()) }
	before := threadInode(t)
	var got []string
	err := netns.Visit([]string{path(one), "/no/such/path", path(two)}, func(i int, err error) {
		link, linkErr := os.Readlink("/proc/thread-self/ns/net")
		if linkErr != nil {
			link = linkErr.Error()
		}
		if i == 1 != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("path %d: %v", i, err)
		}
		got = append(got, link)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{one.String(), before, two.String()}, got); diff != "" {
		t.Errorf("visited (-want +got):\n%s", diff)
	}
	if after := threadInode(t); after != before {
		t.Errorf("the caller is in %s, was in %s", after, before)
	}
}
