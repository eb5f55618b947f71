package ctnetlink

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
)

// No request was sent, so no reply comes.
func TestReceiveEndsAtTheDeadline(t *testing.T) {
	c, err := Dial(cttest.NewNS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	if err := c.socketError(t.Context(), os.ErrDeadlineExceeded); errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without a reply: error %v", err)
	}
}
