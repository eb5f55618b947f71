package verify

import (
	"strings"
	"testing"
)

func TestReadJournal(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	tests := map[string]struct {
		text string
		want int
		err  string
	}{
		"nothing":                       {"", 0, ""},
		"entries of others":             {`{"MESSAGE":"x"}` + "\n" + `{"CTWARDEN_SEQ":["1","2"],"CTWARDEN_HASH":"x"}` + "\n", 0, ""},
		"a copy":                        {`{"CTWARDEN_SEQ":"7","CTWARDEN_HASH":"` + hash + `"}`, 1, ""},
		"a hash that is none":           {`{"CTWARDEN_SEQ":"7","CTWARDEN_HASH":"0A"}`, 0, "parse hash"},
		"what is not journalctl's JSON": {"Nov 20 19:00:00 host ctwarden[1]: x\n", 0, "read journal: entry"},
		"an entry without an end":       {strings.Repeat(" ", 2<<20), 0, "token too long"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			checkpoints, err := ReadJournal(strings.NewReader(tt.text))
			if len(checkpoints) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d checkpoints, error %v; want %d, %q", len(checkpoints), err, tt.want, tt.err)
			}
		})
	}
}

// TestACheckpointIsANumberAndAHash: half of a number would be that of another record.
func TestACheckpointIsANumberAndAHash(t *testing.T) {
	hash := ":" + strings.Repeat("ab", 32)
	for text, want := range map[string]uint64{"12": 12, "12x": 0, " 12": 0, "+12": 0, "-1": 0, "1_2": 0, "1.2": 0, "": 0} {
		point, err := ParseCheckpoint(text + hash)
		if point.Seq != want || (err == nil) != (want > 0) {
			t.Errorf("%q: record %d, %v", text+hash[:5], point.Seq, err)
		}
	}
	if _, err := ParseCheckpoint("12"); err == nil {
		t.Error("a number alone passes")
	}
}
