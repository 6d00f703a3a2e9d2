package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"gateway/evidence"
	"gateway/wire"
)

const receiptAbout = `It checks a receipt, which is a text that status --receipt prints, without
asking the gateway or reading its journal: FILE has it, or stdin. The key is the
text that journal key prints, or a file with it. Take it from who runs the bank,
once, and keep it.

It prints the entry as journal dump does, and the head under which it is: the
journal had this entry then. Exits 1 when the receipt proves nothing.

Examples:

  gateway receipt verify --key head.pub receipt.txt
  gateway status pay/11 --receipt | gateway receipt verify --key head.pub
`

// maxReceiptFile bounds what is read of a file with a receipt, in bytes.
const maxReceiptFile = 64 << 10

func receiptCommand() command {
	return command{
		name: "receipt verify", args: "[FILE]", summary: "Check a receipt, offline.", about: receiptAbout,
		flags: func(fs *flag.FlagSet) func(context.Context, *environment, []string) int {
			key := fs.String("key", "", "The public `KEY`, or a file with it.")
			return func(_ context.Context, env *environment, args []string) int {
				if *key == "" {
					env.complain("receipt verify: --key is missing")
					return exitUsage
				}
				if err := verifyReceipt(env, *key, args); err != nil {
					env.complain("receipt verify: %v", err)
					return exitRefused
				}
				return exitDone
			}
		},
	}
}

func verifyReceipt(env *environment, keyText string, args []string) error {
	key, err := publicKey(keyText)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	in := env.stdin
	if len(args) > 0 {
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxReceiptFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxReceiptFile { // what follows is nothing that was signed, whatever it is
		return fmt.Errorf("the text has more than %d bytes: it is no receipt", maxReceiptFile)
	}
	receipt, err := evidence.CheckReceipt(strings.TrimSpace(string(text)), key)
	if errors.Is(err, evidence.ErrKey) {
		return fmt.Errorf("another key has signed it: %w", err)
	}
	if err != nil {
		return err
	}
	if err := wire.NewEntryEncoder(env.stdout).Encode(&receipt.Entry, receipt.Hash); err != nil {
		return err
	}
	_, err = io.WriteString(env.stdout, receipt.Head.Text())
	return err
}
