package evidence

import (
	"errors"
	"fmt"
	"io/fs"

	"gateway/disk"
)

// The files that are kept beside a journal.
const (
	// HeadsFile has the heads.
	HeadsFile = "heads"
	// KeyFile has the secret key, unless it is kept elsewhere.
	KeyFile = "head.key"
	// PublicKeyFile has the public key.
	PublicKeyFile = "head.pub"
)

// maxKey bounds the file of a key, in bytes.
const maxKey = 512

// OpenKey returns the key that is kept in fsys. When there is neither key nor head it makes one of that name. Errors wrap [ErrKey] when
// there are heads without a key, [ErrDamaged] when what is kept is none, or are the file system's.
func OpenKey(fsys disk.FS, name string) (*Key, error) {
	secret, err := disk.Head(fsys, KeyFile, maxKey)
	if err == nil {
		key, err := ParseKey(string(secret))
		if err != nil {
			return nil, &DamageError{Reason: KeyFile + " at byte 0: it is no key; put the one there that was; when it is lost, " + howToBeginAnew}
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", KeyFile, err)
	}
	switch signed, err := disk.Head(fsys, HeadsFile, 1); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read %s: %w", HeadsFile, err)
	case len(signed) > 0:
		return nil, fmt.Errorf("%w: %s is missing, with which those in %s were signed: put it there; when it is lost, %s", ErrKey, KeyFile,
			HeadsFile, howToBeginAnew)
	}
	made, err := NewKey(name)
	if err != nil {
		return nil, err
	}
	if err := write(fsys, KeyFile, made+"\n"); err != nil {
		return nil, fmt.Errorf("write %s: %w", KeyFile, err)
	}
	return ParseKey(made)
}

const howToBeginAnew = "move " + KeyFile + " and " + HeadsFile + " away, and the copy of the heads, and they begin anew with another key"

// KeepPublicKey makes fsys have the public key, for whoever looks at the directory.
func KeepPublicKey(fsys disk.FS, k *PublicKey) error {
	text := k.String() + "\n"
	switch kept, err := disk.Head(fsys, PublicKeyFile, maxKey); {
	case err == nil && string(kept) == text:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read %s: %w", PublicKeyFile, err)
	}
	if err := write(fsys, PublicKeyFile, text); err != nil {
		return fmt.Errorf("write %s: %w", PublicKeyFile, err)
	}
	return nil
}

// write makes a file of that text, whole or not at all.
func write(fsys disk.FS, name, text string) error {
	file, err := fsys.Create(name + disk.Unfinished)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return disk.Publish(fsys, name+disk.Unfinished, name)
}

// errNoSpace says that a head was not written and nothing was changed.
var errNoSpace = errors.New("evidence: no space")

// kept is the roll beside the journal. Each head is durable before the next is written, so that only the last can be torn.
type kept struct {
	file disk.File
	end  int64
}

// openKept opens the roll, or makes it, cuts a torn head off its end, and makes the last one durable again, because after a
// crash the system may show what the disk has not. It returns that one, whose signature it has checked, or false.
func openKept(fsys disk.FS, key *PublicKey) (k *kept, last record, ok bool, err error) {
	file, err := fsys.Edit(HeadsFile)
	if errors.Is(err, fs.ErrNotExist) {
		if file, err = fsys.Create(HeadsFile); err == nil {
			err = fsys.SyncDir()
		}
	}
	if err != nil {
		return nil, last, false, err
	}
	k = &kept{file: file}
	if last, ok, err = k.recover(key); err != nil {
		file.Close()
		return nil, last, false, err
	}
	return k, last, ok, nil
}

func (k *kept) recover(key *PublicKey) (last record, ok bool, err error) {
	size, err := k.file.Size()
	if err != nil {
		return last, false, err
	}
	last, ok, err = roll{k.file, size}.last()
	if err != nil {
		return last, ok, err
	}
	k.end = last.next
	if size-k.end > int64(maxRecord) {
		return last, ok, &DamageError{Reason: fmt.Sprintf("%s at byte %d: what follows is no head", HeadsFile, k.end)}
	}
	if ok {
		if err := key.check(&last.Head, &last.signature); errors.Is(err, ErrHead) {
			return last, ok, &DamageError{Reason: fmt.Sprintf("%s at byte %d: %v", HeadsFile, last.at, err)}
		} else if err != nil {
			return last, ok, err
		}
		if _, err := k.file.WriteAt([]byte(last.signed+recordEnd), last.at); err != nil {
			return last, ok, err
		}
	}
	if size > k.end {
		if err := k.file.Truncate(k.end); err != nil {
			return last, ok, err
		}
	}
	return last, ok, k.file.Sync()
}

// append adds a signed head, durably. After an error that wraps errNoSpace it may be tried again, and after no other.
func (k *kept) append(signed []byte) error {
	b := append(append([]byte(nil), signed...), recordEnd...)
	_, err := k.file.WriteAt(b, k.end)
	if err == nil {
		err = k.file.Sync()
	}
	switch {
	case err == nil:
		k.end += int64(len(b))
	case disk.LacksSpace(err):
		if worse := k.file.Truncate(k.end); worse != nil {
			return fmt.Errorf("take back what the disk had no space for: %w", worse)
		}
		err = fmt.Errorf("%w: %w", errNoSpace, err)
	}
	return err
}
