package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

func TestRetentionKeepsOpenIncidentAfterRestart(t *testing.T) {
	cfg := config.Default()
	cfg.State.Dir = t.TempDir()
	cfg.Audit.Path = filepath.Join(t.TempDir(), "audit.jsonl")
	cfg.Audit.MaxSize, cfg.Audit.KeepSize = 1, 2000
	for name, tt := range map[string]struct {
		open string
		want bool
	}{"it goes on": {"A", true}, "it is over": {"", false}} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.Audit.Path = filepath.Join(t.TempDir(), "audit.jsonl")
			fill := func(log *audit.Log, n int) {
				t.Helper()
				for range n {
					if _, err := log.Append(&record.Samples{}); err != nil {
						t.Fatal(err)
					}
				}
			}
			log, err := OpenAudit(&cfg, slog.New(slog.DiscardHandler), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := log.Append(&record.IncidentOpen{Edge: record.Edge{Incident: "A"}}); err != nil {
				t.Fatal(err)
			}
			fill(log, 2)
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			if err := writeSnapshot(cfg.State.Dir, "boot", map[uint32]loop.Snapshot{0: {Incident: tt.open}}); err != nil {
				t.Fatal(err)
			}
			d := &Server{logger: slog.New(slog.DiscardHandler), boot: "boot"}
			d.settings.initial = &cfg
			if d.log, err = OpenAudit(&cfg, d.logger, nil); err != nil {
				t.Fatal(err)
			}
			defer d.log.Close()
			if kept := d.restoreSnapshot(); kept[0].Incident != tt.open {
				t.Errorf("remembered %+v", kept)
			}
			fill(d.log, 20)
			var first audit.Record
			for r, err := range audit.Read(t.Context(), cfg.Audit.Path, audit.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				first = r.Clone()
				break
			}
			if got := first.Seq == 1; got != tt.want {
				t.Errorf("the log begins with record %d", first.Seq)
			}
		})
	}
}

// TestSegmentsBeginWithLimits: a plan is decided again by the limits
// that its record names, when those of the start have been removed.
func TestSegmentsBeginWithLimits(t *testing.T) {
	cfg := config.Default()
	cfg.Audit.Path = filepath.Join(t.TempDir(), "audit.jsonl")
	cfg.Audit.MaxSize = 1
	d := &Server{logger: slog.New(slog.DiscardHandler)}
	d.settings.current.Store(&cfg)
	log, err := OpenAudit(&cfg, d.logger, d.segmentHeader)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	limits := cfg.Limits
	plan := limits.Decide(&policy.State{}, &policy.Assessment{})
	for range 2 {
		if _, err := log.Append(&record.Plan{Decision: record.Decision{Limits: limits.Digest(), Plan: plan}}); err != nil {
			t.Fatal(err)
		}
	}
	var kinds []string
	for r, err := range audit.Read(t.Context(), cfg.Audit.Path, audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, string(r.Kind))
		p, err := r.Payload()
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := p.(*record.Config); ok && (c.Digest != limits.Digest() || c.Limits.Digest() != c.Digest) {
			t.Errorf("record %+v", c)
		}
	}
	if got := strings.Join(kinds, " "); got != "plan config plan" {
		t.Errorf("records %s", got)
	}
}

// TestNamespaceBreakerSurvivesRestart: the incident there was over already.
func TestNamespaceBreakerSurvivesRestart(t *testing.T) {
	open := policy.State{SafetyPauseUntil: 1, SafetyPause: time.Hour}
	var a Agent
	begin := a.initialSnapshots(map[uint32]loop.Snapshot{7: {State: open}}, &remediate.Claims{})
	if begin[7].State.SafetyPause != time.Hour {
		t.Errorf("netns 7 begins with %+v", begin[7].State)
	}
	if _, own := begin[0]; !own {
		t.Error("the own table does not begin")
	}
}
