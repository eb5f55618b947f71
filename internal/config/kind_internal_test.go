package config

import (
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	tests := []struct {
		kind kind
		text string
		want uint64
	}{
		{count, "0", 0},
		{count, "18446744073709551615", 1<<64 - 1},
		{share, "0%", 0},
		{share, "75%", 7500},
		{share, "2.5%", 250},
		{share, "2.05%", 205},
		{share, "0.25%", 25},
		{duration, "0s", 0},
		{duration, "250ms", uint64(250 * time.Millisecond)},
		{duration, "1h30m", uint64(90 * time.Minute)},
		{duration, "90d", uint64(90 * day)},
		{duration, "24h", uint64(day)},
		{seconds, "2h4m", 7440},
		{seconds, "2m", 120},
		{size, "0B", 0},
		{size, "1023B", 1023},
		{size, "1KiB", 1 << 10},
		{size, "16777215TiB", 16777215 << 40},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if n, ok := tt.kind.parse(tt.text); !ok || n != tt.want {
				t.Errorf("parse: got %d, %t, want %d", n, ok, tt.want)
			}
			if text := tt.kind.format(tt.want); text != tt.text {
				t.Errorf("format: got %s", text)
			}
		})
	}
}

func TestOtherSpellings(t *testing.T) {
	tests := []struct {
		kind kind
		text string
		want uint64
	}{
		{share, "75.0%", 7500},
		{share, "75.50%", 7550},
		{duration, "1d", uint64(day)},
		{duration, "0.5h", uint64(30 * time.Minute)},
		{duration, "100us", uint64(100 * time.Microsecond)},
		{duration, "106751d", 106751 * uint64(day)},
		{seconds, "1500000us500000us", 2},
		{size, "1024KiB", 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if n, ok := tt.kind.parse(tt.text); !ok || n != tt.want {
				t.Errorf("got %d, %t, want %d", n, ok, tt.want)
			}
		})
	}
}

func TestWhatIsNoNumber(t *testing.T) {
	for kind, texts := range map[kind][]string{
		count:    {"", "-1", "+1", "01", "1_0", "0x1", "1e3", "1.0", " 1", "1 ", "18446744073709551616", "one", "٣"},
		share:    {"", "%", "75", "-1%", "+1%", "75 %", "075%", "1.%", "1.234%", ".5%", "1.+5%", "1,5%", "42949672%", "1e1%", "75%%"},
		duration: {"", "0", "10", "s", "-5s", "-0s", "+5s", "5", "5 s", "1w", "d", "-1d", "1.5d", "106752d", "1d1h", "0.1ns", "300y", "9999999h"},
		seconds:  {"1500ms", "1ns", "30"},
		size:     {"", "B", "16", "16MB", "16M", "16mib", "-1KiB", "1.5MiB", "16 MiB", "99999999TiB", "16777216TiB", "18446744073709551616B", "1PiB"},
	} {
		for _, text := range texts {
			if n, ok := kind.parse(text); ok {
				t.Errorf("%s: %q gives %d, want none", kind.noun(), text, n)
			}
		}
	}
}

func TestNegativeDurationsAreShown(t *testing.T) {
	c := Default()
	c.Limits.Restore.Calm = -5 * time.Second
	want := `restore_after.calm: expected a duration between 1s and 7d, found "-5s"`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzNumber(f *testing.F) {
	for _, text := range []string{"0", "75%", "2.05%", "1h30m", "90d", "16MiB", "1e3", "0.1ns"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for k := count; k <= size; k++ {
			n, ok := k.parse(text)
			if !ok {
				continue
			}
			if again, ok := k.parse(k.format(n)); !ok || again != n {
				t.Errorf("%s %q: %d is written as %q, which is read as %d, %t", k.noun(), text, n, k.format(n), again, ok)
			}
		}
	})
}
