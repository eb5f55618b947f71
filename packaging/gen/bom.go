package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// A bom is a document of SPDX 2.3, https://spdx.github.io/spdx-spec/v2.3/. Only what can be known is in it.
type bom struct {
	Version    string        `json:"spdxVersion"`
	License    string        `json:"dataLicense"`
	ID         string        `json:"SPDXID"`
	Name       string        `json:"name"`
	Namespace  string        `json:"documentNamespace"`
	Creation   bomCreation   `json:"creationInfo"`
	Packages   []bomPackage  `json:"packages"`
	Relations  []bomRelation `json:"relationships"`
	DescribeID []string      `json:"documentDescribes"`
}

type bomCreation struct {
	Created  time.Time `json:"created"`
	Creators []string  `json:"creators"`
}

type bomPackage struct {
	ID        string        `json:"SPDXID"`
	Name      string        `json:"name"`
	Version   string        `json:"versionInfo"`
	Download  string        `json:"downloadLocation"`
	Analyzed  bool          `json:"filesAnalyzed"`
	Concluded string        `json:"licenseConcluded"`
	Declared  string        `json:"licenseDeclared"`
	Copyright string        `json:"copyrightText"`
	Checksums []bomChecksum `json:"checksums,omitempty"`
	Refs      []bomRef      `json:"externalRefs,omitempty"`
}

type bomChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type bomRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type bomRelation struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const noAssertion = "NOASSERTION"

// writeBOM writes what is inside a program, as the program itself says.
func (b build) writeBOM(program string) error {
	mods, info, err := modules(program)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:])
	mods = append([]module{{"stdlib", strings.TrimPrefix(info.GoVersion, "go"), "BSD-3-Clause", nil}}, mods...)
	const root = "SPDXRef-ctwarden"
	doc := bom{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "ctwarden-" + b.version,
		// Unique for each program and the same for each build of it.
		Namespace:  "https://github.com/ctwarden/ctwarden/sbom/" + digest,
		Creation:   bomCreation{b.date, []string{"Tool: ctwarden-packaging-gen", "Organization: ctwarden"}},
		DescribeID: []string{root},
		Packages: []bomPackage{{
			ID: root, Name: "ctwarden", Version: b.version, Download: "https://github.com/ctwarden/ctwarden",
			Concluded: "Apache-2.0", Declared: "Apache-2.0", Copyright: noAssertion,
			Checksums: []bomChecksum{{"SHA256", digest}},
			Refs:      []bomRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + info.Main.Path + "@v" + b.version}},
		}},
		Relations: []bomRelation{{"SPDXRef-DOCUMENT", "DESCRIBES", root}},
	}
	for i, m := range mods {
		id := fmt.Sprintf("SPDXRef-module-%d", i)
		doc.Packages = append(doc.Packages, bomPackage{
			ID: id, Name: m.path, Version: m.version, Download: noAssertion,
			Concluded: m.license, Declared: m.license, Copyright: noAssertion,
			Refs: []bomRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.path + "@" + m.version}},
		})
		doc.Relations = append(doc.Relations, bomRelation{root, "CONTAINS", id})
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.out, append(out, '\n'), 0o644)
}
