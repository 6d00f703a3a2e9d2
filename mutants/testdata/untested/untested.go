// Package untested has no tests.
package untested

// Yes says so.
func Yes() bool { return true }
