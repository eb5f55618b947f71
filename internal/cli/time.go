package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/ui"
)

// One rule for times on the command line: a terminal shows them in the local zone,
// with the offset to UTC ("Z" for none), and flags accept them in the same form. A
// time without an offset is in the local zone, too, as for journalctl. The audit log,
// JSON, reports and files have times in UTC, with "Z".

// timeLayouts are the forms of a time, with and without a zone. A fraction of a
// second may follow the seconds.
var timeLayouts = [...]string{
	ui.TimeLayout, "2006-01-02 15:04Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly,
}

// parseTime parses the time of a flag; "" is the zero time. The zone of now is the
// local one.
func parseTime(text string, now time.Time) (time.Time, error) {
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch text {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	if ago, ok := parseAgo(text); ok {
		return now.Add(-ago), nil
	}
	plain, zone := text, now.Location()
	if cut, ok := strings.CutSuffix(plain, " UTC"); ok {
		plain, zone = cut, time.UTC
	}
	if len(plain) > 10 && plain[10] == 'T' {
		plain = plain[:10] + " " + plain[11:]
	}
	if strings.IndexByte(plain, ':') == 2 { // of today
		plain = now.In(zone).Format(time.DateOnly) + " " + plain
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, plain, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: expected one such as \"2026-01-02 15:04:05\" (by this host's clock, or with Z or +01:00 behind it), "+
		"2026-01-02, 15:04, today, yesterday, or how long ago, as in 90m or 3d", text)
}

// parseAgo parses how long ago something was: 90m, -90m, 90m ago; 3d is three
// times 24 hours.
func parseAgo(text string) (time.Duration, bool) {
	text = strings.TrimPrefix(strings.TrimSuffix(text, " ago"), "-")
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}
