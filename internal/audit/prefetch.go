package audit

// batchText is how much text is read ahead at a time: some hundred records,
// and never less than a longest line.
const batchText = 4 * MaxLine

// batchItems bounds the items without text: lines that are no records.
const batchItems = 4096

// batches is how many there are: one that is used, one that waits, and one
// that is being read.
const batches = 3

// A batch has the items that were read ahead, with their text.
type batch[T any] struct {
	text  []byte
	items []T
}

// A prefetcher reads ahead of the records' user, on another processor: in a long
// log, finding the records takes as long as using them.
type prefetcher[T any] struct {
	free, full chan *batch[T]
	stop       chan struct{}
	b          *batch[T] // nil: reading has ended
}

// prefetch runs read beside yield, which gets the items in their order, each valid
// until the next. It returns when both have ended.
func prefetch[T any](read func(*prefetcher[T]), yield func(T) bool) {
	f := &prefetcher[T]{free: make(chan *batch[T], batches), full: make(chan *batch[T], batches), stop: make(chan struct{})}
	for range batches {
		f.free <- &batch[T]{text: make([]byte, 0, batchText)}
	}
	f.b = <-f.free
	go func() {
		defer close(f.full)
		read(f)
		f.send()
	}()
	defer func() {
		close(f.stop)
		for range f.full { // the reader ends with what it is at
		}
	}()
	for b := range f.full {
		for i := range b.items {
			if !yield(b.items[i]) {
				return
			}
		}
		clear(b.items)
		b.text, b.items = b.text[:0], b.items[:0]
		f.free <- b
	}
}

// keep copies a line to where it stays for as long as the item that is put
// next.
func (f *prefetcher[T]) keep(line []byte) []byte {
	if f.b != nil && len(f.b.text)+len(line) > cap(f.b.text) {
		f.next()
	}
	if f.b == nil {
		return nil
	}
	from := len(f.b.text)
	f.b.text = append(f.b.text, line...)
	return f.b.text[from:len(f.b.text):len(f.b.text)]
}

// put hands an item over. It returns false when reading has ended.
func (f *prefetcher[T]) put(item T) bool {
	if f.b == nil {
		return false
	}
	f.b.items = append(f.b.items, item)
	if len(f.b.items) == batchItems {
		f.next()
	}
	return true
}

// next sends the batch and waits for an empty one.
func (f *prefetcher[T]) next() {
	f.send()
	select {
	case f.b = <-f.free:
	case <-f.stop:
		f.b = nil
	}
}

// send sends the batch: there is always room for all of them.
func (f *prefetcher[T]) send() {
	if f.b != nil && len(f.b.items) > 0 {
		f.full <- f.b
	}
	f.b = nil
}
