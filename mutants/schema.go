package main

import (
	"fmt"
	"go/token"
	"strings"
)

// Variables of a test binary's environment.
const (
	aliveVariable   = "MUTANT_ALIVE"   // the id of the mutant to be
	reachedVariable = "MUTANT_REACHED" // the file to append the ids to whose place is reached, four bytes each, the lowest first
)

// calculators names the functions that take the place of operators.
var calculators = map[token.Token]struct{ name, operator string }{
	token.ADD: {"mutantAdd", "+"}, token.SUB: {"mutantSubtract", "-"}, token.MUL: {"mutantMultiply", "*"},
	token.QUO: {"mutantDivide", "/"}, token.REM: {"mutantRemainder", "%"}, token.SHL: {"mutantLeft", "<<"},
	token.SHR: {"mutantRight", ">>"}, token.AND: {"mutantAnd", "&"}, token.OR: {"mutantOr", "|"},
	token.XOR: {"mutantXor", "^"}, token.AND_NOT: {"mutantClear", "&^"},
}

// switchboard is what is compiled into the package beside its own code. In it a mutant is an id; of a place's mutants the
// ids are dense.
const switchboard = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var mutantAlive = func() int {
	id, err := strconv.Atoi(os.Getenv("` + aliveVariable + `"))
	if err != nil {
		return -1
	}
	return id
}()

var mutantFile = func() *os.File {
	file, _ := os.OpenFile(os.Getenv("` + reachedVariable + `"), os.O_WRONLY|os.O_APPEND, 0)
	return file
}()

var mutantsReached [%d]atomic.Bool

// mutantReached tells that a place is reached whose mutants begin with first.
func mutantReached(first int) {
	if mutantsReached[first].CompareAndSwap(false, true) {
		mutantFile.Write([]byte{byte(first), byte(first >> 8), byte(first >> 16), byte(first >> 24)})
	}
}

// mutantOn reports whether the mutant is alive.
func mutantOn(id int) bool { return mutantAlive == id }

// mutantOff reports whether none of a place's mutants is.
func mutantOff(first, after int) bool {
	if mutantFile != nil {
		mutantReached(first)
	}
	return mutantAlive < first || after <= mutantAlive
}

type mutantInteger interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutantMore[T mutantInteger](id int, a T) T {
	if mutantOff(id, id+1) {
		return a
	}
	return a + 1
}

func mutantNegative[T mutantInteger](id int, a T) T {
	if mutantOff(id, id+1) {
		return -a
	}
	return a
}

func mutantOther(id int, a bool) bool { return a == mutantOff(id, id+1) }

func mutantNoError(id int, err error) error {
	if mutantOff(id, id+1) {
		return err
	}
	return nil
}

func mutantNone[T any](id int, p *T) *T {
	if mutantOff(id, id+1) {
		return p
	}
	return nil
}
`

// writeSwitchboard returns the file for a package of that name with so many mutants.
func writeSwitchboard(name string, mutants int) string {
	var b strings.Builder
	fmt.Fprintf(&b, switchboard, name, max(mutants, 1))
	for operator := token.ADD; operator <= token.AND_NOT; operator++ {
		c := calculators[operator]
		parameters, operands := "[T mutantInteger]", "a, b T"
		if operator == token.SHL || operator == token.SHR {
			parameters, operands = "[T, S mutantInteger]", "a T, b S"
		}
		fmt.Fprintf(&b, "\nfunc %s%s(id int, %s) T {\n\tif mutantOff(id, id+1) {\n\t\treturn a %s b\n\t}\n\treturn a %s b\n}\n",
			c.name, parameters, operands, c.operator, calculated[operator])
	}
	return b.String()
}
