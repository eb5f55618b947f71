package conntrack

import (
	"bytes"
	"errors"
	"fmt"
)

// A CPUStat is one processor's row of the connection tracking statistics of
// one network namespace, as /proc/net/stat/nf_conntrack prints it and
// ctnetlink sends it (IPCTNL_MSG_CT_GET_STATS_CPU). The kernel counts in 32
// bits and wraps. A counter that this kernel does not have is 0.
type CPUStat struct {
	// Entries is the count of the whole namespace; procfs repeats it in each
	// row and ctnetlink leaves it out. It is not a per-processor number.
	Entries uint32
	// ClashResolve counts clashes of tuples that were resolved and whose
	// packet passed (Linux 5.10 and later; the column was "searched" before).
	ClashResolve uint32
	Found        uint32 // entries found that a new connection clashed with
	Invalid      uint32 // packets that could not be tracked
	Insert       uint32 // entries inserted; procfs prints 0 since 4.18
	InsertFailed uint32 // entries that could not be inserted
	Drop         uint32 // packets dropped: table full, no memory, or not insertable
	EarlyDrop    uint32 // entries evicted to make room at max
	Error        uint32 // packets with a broken header, ICMP mostly
	// SearchRestart counts lookups that a resize of the hash sent back to
	// the start.
	SearchRestart uint32
	// ChainTooLong is the part of InsertFailed that is due to a long hash
	// chain (Linux 5.15 and later, column "chainlength").
	ChainTooLong uint32
}

// statField finds where a column of /proc/net/stat/nf_conntrack belongs; nil
// for a column that ctwarden does not read. Names, not positions: the second
// column is "searched" up to Linux 5.9 and "clashres" after, the eighth is
// "delete_list" up to 5.14 and "chainlength" after. See ct_cpu_seq_show in
// net/netfilter/nf_conntrack_standalone.c.
func (s *CPUStat) statField(column []byte) *uint32 {
	switch string(column) {
	case "entries":
		return &s.Entries
	case "clashres":
		return &s.ClashResolve
	case "found":
		return &s.Found
	case "invalid":
		return &s.Invalid
	case "chainlength":
		return &s.ChainTooLong
	case "insert":
		return &s.Insert
	case "insert_failed":
		return &s.InsertFailed
	case "drop":
		return &s.Drop
	case "early_drop":
		return &s.EarlyDrop
	case "icmp_error":
		return &s.Error
	case "search_restart":
		return &s.SearchRestart
	}
	return nil
}

// maxStatColumns bounds the header: kernels print 17 columns.
const maxStatColumns = 64

// ParseCPUStats reads the text of /proc/net/stat/nf_conntrack, a header and
// one row of hexadecimal numbers for each possible processor, and appends the
// rows to into[:0], so that a caller that samples often need not allocate.
// Columns are found by name; unknown ones are passed over. A file that is
// torn, or whose rows do not fit its header, is an error that names the line;
// no rows are returned then.
func ParseCPUStats(text []byte, into []CPUStat) ([]CPUStat, error) {
	rows := into[:0]
	header, rest, ok := bytes.Cut(text, []byte{'\n'})
	if !ok {
		return nil, errors.New("parse conntrack statistics: line 1: header is missing or cut short")
	}
	columns, err := checkStatHeader(header)
	if err != nil {
		return nil, fmt.Errorf("parse conntrack statistics: line 1: %w", err)
	}
	for line := 2; len(rest) > 0; line++ {
		var row []byte
		row, rest, ok = bytes.Cut(rest, []byte{'\n'})
		if !ok {
			return nil, fmt.Errorf("parse conntrack statistics: line %d: cut short", line)
		}
		var s CPUStat
		if err := s.parseRow(header, row, columns); err != nil {
			return nil, fmt.Errorf("parse conntrack statistics: line %d: %w", line, err)
		}
		rows = append(rows, s)
	}
	if len(rows) == 0 {
		return nil, errors.New("parse conntrack statistics: line 2: no processor")
	}
	return rows, nil
}

// checkStatHeader counts the columns of a header that has each required
// column, and none that is read twice.
func checkStatHeader(header []byte) (int, error) {
	var s CPUStat
	var seen [maxStatColumns]*uint32
	columns := 0
	for column, rest := nextField(header); len(column) > 0; column, rest = nextField(rest) {
		if columns == maxStatColumns {
			return 0, fmt.Errorf("more than %d columns", maxStatColumns)
		}
		if !isName(column) {
			return 0, fmt.Errorf("%s is not the name of a column", Printable(string(column), 40))
		}
		field := s.statField(column)
		for _, other := range seen[:columns] {
			if field != nil && field == other {
				return 0, fmt.Errorf("column %s twice", column)
			}
		}
		seen[columns] = field
		columns++
		if field != nil {
			*field = 1
		}
	}
	// Every kernel has these, and without them the rest would mislead.
	switch uint32(0) {
	case s.Entries:
		return 0, errors.New("no column entries")
	case s.InsertFailed:
		return 0, errors.New("no column insert_failed")
	case s.Drop:
		return 0, errors.New("no column drop")
	case s.EarlyDrop:
		return 0, errors.New("no column early_drop")
	}
	return columns, nil
}

func isName(column []byte) bool {
	for _, c := range column {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '_' {
			return false
		}
	}
	return true
}

func (s *CPUStat) parseRow(header, row []byte, columns int) error {
	for i := range columns {
		var column, digits []byte
		column, header = nextField(header)
		digits, row = nextField(row)
		if len(digits) == 0 {
			return fmt.Errorf("%d numbers, want %d", i, columns)
		}
		n, ok := parseHex(digits)
		if !ok {
			return fmt.Errorf("column %s: %s is not a hexadecimal number of 32 bits", column, Printable(string(digits), 40))
		}
		if field := s.statField(column); field != nil {
			*field = n
		}
	}
	if extra, _ := nextField(row); len(extra) > 0 {
		return fmt.Errorf("more than %d numbers", columns)
	}
	return nil
}

// nextField cuts the first word off text; words are separated by spaces.
func nextField(text []byte) (field, rest []byte) {
	text = bytes.TrimLeft(text, " ")
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		return text[:i], text[i:]
	}
	return text, nil
}

func parseHex(digits []byte) (uint32, bool) {
	if len(digits) > 8 {
		return 0, false
	}
	var n uint32
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
