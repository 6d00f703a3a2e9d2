//go:build linux && !amd64

package main

import "errors"

// canTrace says that the registers are not known.
const canTrace = false

var callKinds map[uint64]callKind

var errRegisters = errors.New("the registers are not known")

type registers struct{}

func (r *registers) get(int) error       { return errRegisters }
func (r *registers) set(int) error       { return errRegisters }
func (r *registers) number() uint64      { return 0 }
func (r *registers) argument(int) uint64 { return 0 }
func (r *registers) setArgument2(uint64) {}
func (r *registers) drop()               {}
func (r *registers) setResult(uint64)    {}
