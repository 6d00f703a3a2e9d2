package journal

import (
	"errors"
	"io/fs"
	"time"

	"gateway/bank"
	"gateway/disk"
)

// Report is what a reading of a whole journal found.
type Report struct {
	ID       [16]byte // of the journal: see [Engine.ID]
	Entries  uint64   // the seq of the last
	Hash     [32]byte // of the last entry; zeros when there is none
	Time     time.Time
	Decimals int
	Accounts int // open, house accounts included
	IDs      int // remembered
	Segments int
	Torn     Tear // what the next start will cut off
}

// Verify reads the journal in dir from its first entry and checks all there is to check: every checksum, seq and hash; that
// each entry is in canonical form, follows from the book before it, moves what was asked, tells the book's balance and decides
// an id that was not decided before; and that the book sums to zero. It changes nothing, takes no lock and may run beside a
// gateway, whose last batch may then look torn. An error that is not about reading is a [*DamageError] or an [ErrFormat].
func Verify(dir string) (Report, error) {
	fsys, err := disk.Existing(dir)
	if err != nil {
		return Report{}, err
	}
	return verify(fsys, func(*bank.Entry, [32]byte) error { return nil })
}

// Dump is Verify, and calls f with every entry, which is f's until it returns, and its hash. An error of f's ends it.
func Dump(dir string, f func(e *bank.Entry, hash [32]byte) error) (Report, error) {
	fsys, err := disk.Existing(dir)
	if err != nil {
		return Report{}, err
	}
	return verify(fsys, f)
}

// readAgain bounds how often damage that a gateway writing beside us may have feigned is looked at again.
const readAgain = 10

func verify(fsys disk.FS, f func(*bank.Entry, [32]byte) error) (Report, error) {
	s, err := surveyBeside(fsys)
	if err != nil {
		return Report{}, err
	}
	if len(s.segments) == 0 {
		return Report{}, nil
	}
	return s.report(fsys, f)
}

// surveyBeside is takeSurvey for who has no lock: a gateway may be writing.
func surveyBeside(fsys disk.FS) (*survey, error) {
	s, err := takeSurvey(fsys)
	for range readAgain {
		if err == nil || !s.feigned(fsys, err) {
			break
		}
		s, err = takeSurvey(fsys)
	}
	return s, err
}

// feigned reports whether err may come from reading while a gateway writes: a batch that was half there when its place was
// read and followed by another a moment later. Then the journal has moved on since, or a file has just gone.
func (s *survey) feigned(fsys disk.FS, err error) bool {
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if !errors.Is(err, ErrDamaged) {
		return false
	}
	now, err := readMark(fsys)
	if err != nil || now == nil {
		return false
	}
	return s.mark == nil || now.generation != s.mark.generation
}

func (s *survey) report(fsys disk.FS, f func(*bank.Entry, [32]byte) error) (Report, error) {
	report := Report{
		ID: s.identity.id, Entries: s.end.seq, Hash: s.end.hash, Decimals: int(s.identity.decimals), Segments: len(s.segments),
		Torn: s.torn,
	}
	past := history{fsys: fsys, writer: &writer{identity: &s.identity}}
	defer past.close()
	ledger := bank.NewLedger(bank.Rules{}, s.identity.key, &past)
	var last hash
	err := s.walk(fsys, s.begin(), func(e *bank.Entry, frame []byte, ref uint64) error {
		err := ledger.Post(e, ref)
		if err == nil {
			err = ledger.Audit(e, ref)
		}
		if errors.Is(err, bank.ErrBroken) {
			return damageAt(ref, e.Seq, err)
		}
		if err != nil {
			return err
		}
		last = hashOf(frame, &last)
		return f(e, last)
	})
	if err != nil {
		return report, err
	}
	if err := s.checkSum(ledger); err != nil {
		return report, err
	}
	report.Time = ledger.Time()
	report.Accounts, report.IDs = ledger.Size()
	return report, nil
}

// begin is the position before the first entry.
func (s *survey) begin() position { return position{segment: 1, offset: sector} }

// checkSum makes sure that the book sums to zero.
func (s *survey) checkSum(ledger *bank.Ledger) error {
	if sum := ledger.Sum(); sum != 0 {
		last := s.segments[len(s.segments)-1]
		return &DamageError{File: last.name, Offset: s.end.offset, Seq: s.end.seq, Reason: "the book does not sum to zero"}
	}
	return nil
}

func damageAt(ref, seq uint64, err error) error {
	segment, offset := splitRef(ref)
	return &DamageError{File: segmentName(segment), Offset: offset, Seq: seq, Reason: err.Error()}
}
