// Package bugbank is a bank of bugs: faults that a tired engineer could write, each a patch to this tree, and the ordinary
// tests that catch them. It shows that the tests would notice.
//
// A bug is a file NN-name.patch: a header, then a unified diff that git apply takes as well. The header says what is planted,
// which promise of the gateway's it breaks, and which checks must fail for it, each a command of its own:
//
//	planted: A batch is answered before its sync.
//	breaks: I1, nothing acknowledged is lost
//	check: go test -run TestPowerCutAtEveryOperation ./bank/journal
//
// A hunk is found by its lines, which must be in the file once, wherever: code that moves does not spoil the bank, and code that
// changes under a bug does. A plain go test looks whether every patch fits and names tests that exist. GATEWAY_BUGBANK=1, which
// make bugbank sets, plants each bug in turn, by an overlay and not in the tree, and runs its checks: one that passes, takes
// longer than a minute, does not build, or fails without the bug, fails the run.
package bugbank
