package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// A module is a Go module inside the program.
type module struct {
	path, version string
	// license is its SPDX identifier, texts are the files that say so.
	license string
	texts   []string
}

// modules reads from a program which modules are inside, and from the module cache what their licenses say.
func modules(program string) ([]module, *debug.BuildInfo, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, nil, err
	}
	mods := make([]module, 0, len(info.Deps)+1)
	args := []string{"list", "-m", "-json"}
	for _, d := range info.Deps {
		if d.Replace != nil {
			return nil, nil, fmt.Errorf("module %s is replaced: its license is another's", d.Path)
		}
		args = append(args, d.Path+"@"+d.Version)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list -m: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var m struct{ Path, Version, Dir string }
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, err
		}
		texts, license, err := readLicense(m.Dir)
		if err != nil {
			return nil, nil, fmt.Errorf("module %s: %w", m.Path, err)
		}
		mods = append(mods, module{m.Path, m.Version, license, texts})
	}
	if len(mods) != len(info.Deps) {
		return nil, nil, fmt.Errorf("go list knows %d of %d modules", len(mods), len(info.Deps))
	}
	slices.SortFunc(mods, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return mods, info, nil
}

// readLicense reads the license files of a module. One whose license isn't known is an error: somebody has to read it.
func readLicense(dir string) (texts []string, license string, err error) {
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, "", err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, "", err
			}
			texts = append(texts, strings.TrimSpace(string(text)))
		}
	}
	for _, text := range texts {
		if id := identify(text); id != "" && !strings.Contains(license, id) {
			license = strings.TrimPrefix(license+" AND "+id, " AND ")
		}
	}
	if license == "" {
		return nil, "", errors.New("no license that is known")
	}
	return texts, license, nil
}

// identify returns the SPDX identifier of a license by the words that no other has.
func identify(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(words, s) }
	switch {
	case has("Apache License Version 2.0"), has("Apache License, Version 2.0") && !has("Permission is hereby"):
		return "Apache-2.0"
	case has("Mozilla Public License Version 2.0"):
		return "MPL-2.0"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Permission to use, copy, modify, and/or distribute this software"),
		has("Permission to use, copy, modify, and distribute this software for any purpose"):
		return "ISC"
	case has("Redistribution and use in source and binary forms") && has("Neither the name"):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

// writeLicenses writes the notices that the licenses ask to hand on.
func (b build) writeLicenses() error {
	mods, info, err := modules(b.program)
	if err != nil {
		return err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	texts, license, err := readLicense(strings.TrimSpace(string(goroot)))
	if err != nil {
		return fmt.Errorf("go: %w", err)
	}
	mods = append([]module{{"Go standard library", info.GoVersion, license, texts}}, mods...)
	var out strings.Builder
	out.WriteString("The program ctwarden contains these works of others, unchanged.\n")
	for _, m := range mods {
		fmt.Fprintf(&out, "\n%s\n%s %s (%s)\n\n%s\n", strings.Repeat("=", 78), m.path, m.version, m.license,
			strings.Join(m.texts, "\n\n"))
	}
	return b.writeGzip("docs/third-party-licenses.txt", []byte(out.String()))
}
