package conntrack

// A CounterSum adds up the processors' 32-bit counters of one table into Counters
// of 64 bits. The zero CounterSum is ready: its first reading is where counting
// starts. A CounterSum must be fed from one source only, since procfs and ctnetlink
// do not have the same columns.
//
// A counter that went back has either wrapped or started anew. It wrapped if
// it was in the last sixteenth of its range and is now in the first: between
// two readings a processor would have to count 2^28 events to make that rule
// wrong. Anything else cannot come from counting: the module was loaded anew,
// or the namespace is another one with the same number. Then all counters of
// all processors began at zero together, so all of them are counted from zero,
// those that have already passed their old value included.
type CounterSum struct {
	last   []CPUStat
	total  Counters
	resets uint64
	anew   bool // last is zero because of Restart
}

// Add takes a reading, one row for each processor in the same order each
// time, and returns what was counted since the first reading. A row for a
// processor that was not there before is where its counting starts; a row that
// is missing keeps its place until it comes back. It keeps no reference to
// rows.
func (t *CounterSum) Add(rows []CPUStat) Counters {
	known := min(len(rows), len(t.last))
	reset := false
	for i := range known {
		reset = reset || t.last[i].restarted(rows[i])
	}
	if reset {
		t.Restart()
	}
	for i := range known {
		t.total.add(rows[i], t.last[i])
		t.last[i] = rows[i]
	}
	t.last = append(t.last, rows[known:]...)
	t.anew = t.anew && len(rows) == 0
	return t.total
}

// Restart makes the next reading count from zero, for a caller that knows that
// the kernel's counters started anew. A second call before that reading has no
// effect.
func (t *CounterSum) Restart() {
	if len(t.last) > 0 && !t.anew {
		t.resets++
		t.anew = true
		clear(t.last)
	}
}

// Resets is the number of times the kernel's counters started anew.
func (t *CounterSum) Resets() uint64 { return t.resets }

// add counts from last to now; unsigned subtraction takes care of a wrap.
func (c *Counters) add(now, last CPUStat) {
	c.Drop += uint64(now.Drop - last.Drop)
	c.EarlyDrop += uint64(now.EarlyDrop - last.EarlyDrop)
	c.InsertFailed += uint64(now.InsertFailed - last.InsertFailed)
	c.ChainTooLong += uint64(now.ChainTooLong - last.ChainTooLong)
	c.Insert += uint64(now.Insert - last.Insert)
}

// restarted reports whether any counter went back without having wrapped. All
// counters are compared, also those that Counters leaves out: the busiest one
// shows a restart first.
func (s CPUStat) restarted(now CPUStat) bool {
	return wentBack(s.ClashResolve, now.ClashResolve) ||
		wentBack(s.Found, now.Found) ||
		wentBack(s.Invalid, now.Invalid) ||
		wentBack(s.Insert, now.Insert) ||
		wentBack(s.InsertFailed, now.InsertFailed) ||
		wentBack(s.Drop, now.Drop) ||
		wentBack(s.EarlyDrop, now.EarlyDrop) ||
		wentBack(s.Error, now.Error) ||
		wentBack(s.SearchRestart, now.SearchRestart) ||
		wentBack(s.ChainTooLong, now.ChainTooLong)
}

func wentBack(last, now uint32) bool {
	const sixteenth = 1 << 28
	wrapped := last >= 1<<32-sixteenth && now < sixteenth
	return now < last && !wrapped
}
