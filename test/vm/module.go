package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A module is a kernel module ready for finit_module: not compressed, and with its dependencies before it.
type module struct {
	name string
	elf  []byte
}

// requiredModules are what every kernel-facing test may count on. A kernel without one of them is an error here, not a
// skipped test there.
func requiredModules() []string {
	return []string{"nf_conntrack", "nf_conntrack_netlink", "nf_tables", "nft_ct", "veth"}
}

// optionalModules are loaded where the kernel has them: nft_counter went into nf_tables in 5.18, for example. There is no
// modprobe in the machine, so whatever the kernel would request of it must be loaded before.
func optionalModules() []string {
	return []string{
		"nft_counter", "nf_nat", "nft_nat", "nft_chain_nat", "nft_masq", "nft_reject_inet", "nft_limit",
		"nf_conntrack_ftp", "dummy",
	}
}

// softModules come first: libcrc32c of 5.10 requests crc32c of the crypto layer by name, which is in no list of dependencies.
func softModules() []string { return []string{"crc32c_generic"} }

// loadOrder reads the modules of a kernel and returns those that the tests need, dependencies first.
func loadOrder(dir string) ([]module, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(d.Name(), ".ko") {
			files[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	builtin := map[string]bool{}
	for line := range strings.FieldsSeq(string(list)) {
		builtin[moduleName(line)] = true
	}
	return resolve(func(name string) ([]byte, bool, error) {
		path, ok := files[name]
		if !ok {
			return nil, builtin[name], nil
		}
		b, err := readModule(path)
		return b, true, err
	})
}

// resolve orders the wanted modules. find returns a module, or nil and whether the kernel has it built in.
func resolve(find func(name string) (b []byte, known bool, err error)) ([]module, error) {
	var order []module
	seen := map[string]bool{}
	var visit func(name string, required bool) error
	visit = func(name string, required bool) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		b, known, err := find(name)
		switch {
		case err != nil:
			return fmt.Errorf("module %s: %w", name, err)
		case !known && required:
			return fmt.Errorf("module %s: the kernel has none", name)
		case b == nil:
			return nil
		}
		depends, err := moduleDepends(b)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, d := range depends {
			if err := visit(d, true); err != nil {
				return err
			}
		}
		order = append(order, module{name: name, elf: b})
		return nil
	}
	var errs []error
	for _, name := range softModules() {
		errs = append(errs, visit(name, false))
	}
	for _, name := range requiredModules() {
		errs = append(errs, visit(name, true))
	}
	for _, name := range optionalModules() {
		errs = append(errs, visit(name, false))
	}
	return order, errors.Join(errs...)
}

// moduleName turns a path into the kernel's own name of a module, in which a dash is an underscore.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func readModule(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".xz":
		return exec.Command("xz", "-dc", path).Output()
	case ".zst":
		return exec.Command("zstd", "-qdc", path).Output()
	}
	return nil, fmt.Errorf("unknown compression of %s", path)
}

// moduleDepends reads "depends=a,b" from the .modinfo section, where MODULE_INFO puts NUL-terminated assignments.
func moduleDepends(b []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(info), nil
}

func parseDepends(info []byte) []string {
	for assignment := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(assignment, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ",")
		}
	}
	return nil
}
