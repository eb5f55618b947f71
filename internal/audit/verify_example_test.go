package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/audit/verify"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// Each record carries the hash of the one before it, so that a changed record
// is found.
func Example() {
	if err := appendAndVerify(); err != nil {
		fmt.Println(err)
	}

	// Output:
	// 2 records, intact: true
	// 1 record, intact: false
	// record 1 altered
}

func appendAndVerify() error {
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.jsonl")
	l, err := audit.Open(path, audit.Options{})
	if err != nil {
		return err
	}
	for _, level := range []policy.Level{policy.Elevated, policy.High} {
		if _, err := l.Append(&record.Level{Level: level}); err != nil {
			return err
		}
	}
	if err := l.Close(); err != nil {
		return err
	}
	r, err := verify.Verifier{}.Verify(context.Background(), path)
	if err != nil {
		return err
	}
	fmt.Printf("%d records, intact: %t\n", r.Records, r.OK())

	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("elevated"), []byte("calm"), 1), 0o640); err != nil {
		return err
	}
	r, err = verify.Verifier{}.Verify(context.Background(), path)
	if err != nil {
		return err
	}
	fmt.Printf("%d record, intact: %t\n", r.Records, r.OK())
	for _, p := range r.Problems {
		fmt.Printf("record %d %s\n", p.Seq, p.Kind)
	}
	return nil
}
