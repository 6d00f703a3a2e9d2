// Command mutants asks whether the tests of a package would notice if its code were wrong. It changes the code in one small
// way at a time, each change a mutant, and runs the tests that reach the changed place. A mutant that no test notices has
// survived: it shows a gap in the tests, or a change without consequence, and then explained.txt says why.
//
// The changes are: a comparison moved by one or turned round; && for || ; another arithmetic operator; an integer one more;
// a truth value or a condition turned round; a statement left out (a call, an assignment, ++, a break, a continue, a defer, a
// return); an error not returned; and a function that does nothing and returns zeros.
//
// All mutants are compiled into one test binary, which is told by a variable of its environment which of them to be; so a
// mutant costs a run of some tests and no build. The sources are not touched: the compiler is given others in their place.
// Each test is run once beforehand, to find out what it reaches and how long it takes. A mutant meets the quickest tests
// first, and is killed by the first that fails, or takes several times as long as it should.
//
// What cannot be changed in this way is skipped and counted: what must be a constant, the step of a for, what runs before any
// test, a place whose type has no name in its file.
//
// # Caveats
//
// Tests that draw their own numbers may kill a mutant in one run and not in the next. A machine that stands still for many
// seconds kills mutants that would have lived: those killed by time are counted apart.
package main
