package report

// A section is a part of the report, the same in every form.
type section struct {
	title  string
	blocks []block
}

// A block is one of its fields.
type block struct {
	para  string
	list  []string
	table *table
	code  string
	note  string // a paragraph of lesser weight
	curve bool
	// about names a code block: a file, or what the commands do.
	about string
}

// A table has a head and rows of as many cells.
type table struct {
	caption string
	head    []string
	rows    [][]string
	// right marks the columns that hold numbers.
	right []bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func paragraph(text string) block { return block{para: text} }
func note(text string) block      { return block{note: text} }
