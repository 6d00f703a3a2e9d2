package journal

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gateway/disk"
)

// survey is what a directory holds, found out without changing anything.
//
// It tells a torn tail from damage. A batch is written only after the one before is durable, so only the last batch can be
// torn, and nothing of it was acknowledged. What is wrong with anything else is damage:
//
//   - before the mark, or before the end of a snapshot, everything was durable once;
//   - when a frame that begins a batch is found after a bad place, the bad place belongs to a batch before it;
//   - a segment that is followed by another is durable to its end, and between them no seq and no hash is missing.
//
// What remains is the last batch. It is cut off at its last whole entry: a batch is not one act, each of its entries is.
type survey struct {
	locked    bool // nobody else writes in the directory
	identity  identity
	names     []string // of all files
	mark      *mark
	snapshots []*snapshotHeader // that look whole, the newest first
	rejected  []string          // snapshots that cannot be used
	segments  []*segment        // in use, in order; empty in a new directory
	unused    []string          // segments after them that hold nothing to keep
	end       position
	torn      Tear
}

// Tear is a tail that was cut off, or would be: bytes that a crash left of a batch that nobody was told about.
type Tear struct {
	File   string
	Offset int64
	Bytes  int64 // up to the last that is not zero; 0 when there is no tear
}

// segment is one file of a journal.
type segment struct {
	segmentHeader
	name string
	scan *scan
}

// takeSurvey reads the whole directory. The mark is read first and the snapshots next, because a gateway may be writing
// beside us: what they say was durable when they were read. The survey is never nil.
func takeSurvey(fsys disk.FS) (*survey, error) {
	s := &survey{}
	var err error
	if s.mark, err = readMark(fsys); err != nil {
		return s, err
	}
	if s.names, err = fsys.List(); err != nil {
		return s, err
	}
	slices.Sort(s.names)
	problem, err := s.readHeaders(fsys)
	if err != nil {
		return s, err
	}
	if len(s.segments) == 0 {
		if problem == nil {
			problem = s.checkEmpty()
		}
		return s, problem.orNil()
	}
	if s.snapshots, s.rejected, err = findSnapshots(fsys, s.names, &s.identity); err != nil {
		return s, err
	}
	if problem == nil {
		problem = s.checkBounds()
	}
	if err := s.scanAll(fsys); err != nil {
		return s, err
	}
	if err := s.judge(); err != nil {
		return s, err
	}
	if problem != nil {
		problem.Seq = s.end.seq + 1 // all before it is as it should be
		return s, problem
	}
	return s, s.judgeUnused(fsys)
}

// readHeaders finds the segments in use, and those after them whose header is not whole. It stops where something is wrong
// with the files themselves, and says what.
func (s *survey) readHeaders(fsys disk.FS) (*DamageError, error) {
	for _, name := range s.names {
		number, ok := segmentNumber(name)
		if !ok {
			continue
		}
		if expected := uint64(len(s.segments) + len(s.unused) + 1); number != expected {
			return &DamageError{File: segmentName(expected), Seq: 1, Reason: "the segment is missing"}, nil
		}
		sector, err := disk.Head(fsys, name, sector)
		if err != nil {
			return nil, err
		}
		reason, err := checkSector(sector, segmentMagic)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if reason != "" {
			if number == 1 { // it was durable before it got its name
				return &DamageError{File: name, Seq: 1, Reason: reason}, nil
			}
			s.unused = append(s.unused, name)
			continue
		}
		seg := &segment{name: name}
		seg.parse(sector)
		if len(s.segments) == 0 {
			s.identity = seg.identity
		}
		switch {
		case len(s.unused) > 0:
			return &DamageError{File: s.unused[0], Reason: "the header is not whole, but the next segment's is"}, nil
		case seg.number != number:
			return &DamageError{File: name, Seq: 1, Reason: fmt.Sprintf("it is segment %d under another's name", seg.number)}, nil
		case seg.identity != s.identity:
			return &DamageError{File: name, Reason: "it belongs to another journal"}, nil
		}
		s.segments = append(s.segments, seg)
	}
	return nil, nil
}

// checkEmpty makes sure that a directory without segments never had any.
func (s *survey) checkEmpty() *DamageError {
	for _, name := range s.names {
		if name == markName || strings.HasPrefix(name, snapshotPrefix) && !strings.HasSuffix(name, disk.Unfinished) {
			return &DamageError{File: segmentName(1), Seq: 1, Reason: fmt.Sprintf("the segment is missing, but there is %s", name)}
		}
	}
	return nil
}

// durable returns the positions that were durable once, in order.
func (s *survey) durable() []position {
	var known []position
	if s.mark != nil {
		known = append(known, s.mark.position)
	}
	for _, snapshot := range s.snapshots {
		known = append(known, snapshot.start, snapshot.end)
	}
	slices.SortFunc(known, func(p, q position) int {
		if p.after(&q) {
			return 1
		}
		if q.after(&p) {
			return -1
		}
		return 0
	})
	return known
}

// checkBounds makes sure that what was durable once lies within the segments.
func (s *survey) checkBounds() *DamageError {
	if s.mark != nil && s.mark.id != s.identity.id {
		return &DamageError{File: markName, Reason: "it belongs to another journal"}
	}
	for _, p := range s.durable() {
		if p.segment == 0 || p.segment > uint64(len(s.segments)) {
			return &DamageError{File: segmentName(p.segment), Reason: "the segment is missing or its header is not whole"}
		}
	}
	return nil
}

// scanAll scans all segments, as many at once as there are processors.
func (s *survey) scanAll(fsys disk.FS) error {
	checks := make([][]position, len(s.segments)+1)
	for _, p := range s.durable() {
		if p.segment < uint64(len(checks)) {
			checks[p.segment] = append(checks[p.segment], p)
		}
	}
	errs := make([]error, len(s.segments))
	scanOne := func(i int) {
		seg := s.segments[i]
		file, err := fsys.Open(seg.name)
		if err == nil {
			seg.scan, err = scanSegment(file, &seg.segmentHeader, checks[seg.number])
			file.Close()
		}
		if err != nil {
			errs[i] = fmt.Errorf("read %s: %w", seg.name, err)
		}
	}
	next := make(chan int, len(s.segments))
	for i := range s.segments {
		next <- i
	}
	close(next)
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(s.segments)) {
		all.Go(func() {
			for i := range next {
				scanOne(i)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// judge decides what each scan means: a whole segment, a torn tail or damage.
func (s *survey) judge() error {
	for i, seg := range s.segments {
		found := seg.scan
		damage := DamageError{File: seg.name, Offset: found.end.offset, Seq: found.end.seq + 1, Reason: found.reason}
		if i == 0 && (seg.first != 1 || seg.before != hash{}) {
			damage.Reason = "the first segment does not begin with the first entry"
			return &damage
		}
		if found.definite {
			if found.other > 0 {
				damage.Seq = found.other
			}
			return &damage
		}
		if i < len(s.segments)-1 {
			next := s.segments[i+1]
			switch {
			case found.reason != "":
			case next.first != found.end.seq+1:
				damage.Reason = fmt.Sprintf("the next segment begins with entry %d", next.first)
			case next.before != found.end.hash:
				damage.Reason = "the next segment follows another entry"
			default:
				continue
			}
			return &damage
		}
		if found.laterBatch {
			damage.Reason += ", and a later batch follows"
			return &damage
		}
		s.end = found.end
		if found.reason != "" {
			s.torn = Tear{File: seg.name, Offset: found.end.offset, Bytes: found.used - found.end.offset}
		}
	}
	return nil
}

// judgeUnused looks at the segments whose header is not whole. The first may be torn: the batch that was to begin it. The
// others must be as they were prepared, all zeros, and so must all be when the segment before is torn.
func (s *survey) judgeUnused(fsys disk.FS) error {
	for i, name := range s.unused {
		found, err := s.scanUnused(fsys, name)
		if err != nil {
			return err
		}
		if found.used == 0 {
			continue
		}
		damage := DamageError{File: name, Seq: s.end.seq + 1}
		switch {
		case i > 0 || s.torn.Bytes > 0:
			damage.Reason = "it is in use, but the segment before it is not whole"
		case found.laterBatch:
			damage.Reason = "the header is not whole, and a later batch follows"
		default:
			s.torn = Tear{File: name, Bytes: found.used}
			continue
		}
		return &damage
	}
	return nil
}

// scanUnused looks through a segment without a header. The batch that began it, if any, begins at its first frame, so that
// one that begins later is a later batch.
func (s *survey) scanUnused(fsys disk.FS, name string) (*scan, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	number, _ := segmentNumber(name)
	r, err := newFrameReader(file, s.identity.seed(number), 0)
	if err != nil {
		return nil, err
	}
	found := &scan{size: r.Size(), end: position{seq: s.end.seq}}
	if err := found.tail(r); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return found, nil
}
