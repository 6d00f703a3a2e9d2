package disk

// MakeDir is what Dir does, with another way to sync a directory.
var MakeDir = makeDir
