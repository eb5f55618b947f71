package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// planPath is the path of the guest's plan.
const planPath = "plan.json"

// A plan has the modules that the guest loads and the jobs that it runs.
type plan struct {
	Modules []string
	Jobs    []job
}

// writeInitrd writes an initramfs: init, the modules, the jobs' files and the plan. It is not compressed, because an
// emulated CPU takes longer to unpack it than the host takes to write it.
func writeInitrd(name string, s suite, modules []module) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, 1<<20)
	archive := cpioWriter{w: buffered, dirs: map[string]bool{}}

	// The kernel opens /dev/console for init before init can mount anything.
	if err := archive.device("dev/console", 5, 1); err != nil {
		return err
	}
	if err := archive.copyFile("init", s.init); err != nil {
		return err
	}
	p := plan{}
	for _, m := range modules {
		to := path.Join("modules", m.name+".ko")
		if err := archive.file(to, m.elf); err != nil {
			return err
		}
		p.Modules = append(p.Modules, "/"+to)
	}
	for _, j := range s.jobs {
		if j.unbuilt != nil {
			continue
		}
		if err := archive.copyJob(j); err != nil {
			return err
		}
		p.Jobs = append(p.Jobs, j)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := archive.file(planPath, text); err != nil {
		return err
	}
	if err := archive.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// copyJob adds a job's binary and the testdata beside its tests, at the places that the job names.
func (c *cpioWriter) copyJob(j job) error {
	if err := c.directory(j.Dir[1:]); err != nil {
		return err
	}
	if err := c.copyFile(j.Argv[0][1:], j.binary); err != nil {
		return err
	}
	if j.testdata == "" {
		return nil
	}
	return filepath.WalkDir(j.testdata, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		inside, err := filepath.Rel(j.testdata, name)
		if err != nil {
			return err
		}
		return c.copyFile(path.Join(j.Dir[1:], "testdata", filepath.ToSlash(inside)), name)
	})
}

// A cpioWriter writes the "newc" format that the kernel unpacks.
// See Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	w     io.Writer
	inode int
	dirs  map[string]bool
}

const (
	cpioDirectory = 0o040755
	cpioRegular   = 0o100755
	cpioCharacter = 0o020600
)

func (c *cpioWriter) entry(name string, mode, major, minor int, body []byte) error {
	c.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(body), 0, 0, major, minor, len(name)+1, 0, name)
	for _, part := range [][]byte{[]byte(header), body} {
		if _, err := c.w.Write(part); err != nil {
			return err
		}
		// Header and body each end at a multiple of four.
		if _, err := c.w.Write(make([]byte, -len(part)&3)); err != nil {
			return err
		}
	}
	return nil
}

// directory adds a directory and those above it, once. The kernel creates no missing parents.
func (c *cpioWriter) directory(name string) error {
	if name == "." || name == "" || c.dirs[name] {
		return nil
	}
	if err := c.directory(path.Dir(name)); err != nil {
		return err
	}
	c.dirs[name] = true
	return c.entry(name, cpioDirectory, 0, 0, nil)
}

func (c *cpioWriter) file(name string, body []byte) error {
	if err := c.directory(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(name, cpioRegular, 0, 0, body)
}

func (c *cpioWriter) copyFile(name, from string) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return c.file(name, body)
}

func (c *cpioWriter) device(name string, major, minor int) error {
	if err := c.directory(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(name, cpioCharacter, major, minor, nil)
}

func (c *cpioWriter) close() error {
	return c.entry("TRAILER!!!", 0, 0, 0, nil)
}
