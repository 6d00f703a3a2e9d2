package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"gateway/access"
)

const passwdAbout = `On a terminal it asks twice and shows nothing. From a pipe it reads one line.
Put the hash into config.yaml, as the password of one of auth.users, or into a
file that only the gateway's user may read, and name that in password_file.

Examples:

  gateway passwd
  gateway passwd < password.txt
`

func passwdCommand() command {
	return command{
		name:    "passwd",
		summary: "Read a password, print its hash for config.yaml.",
		about:   passwdAbout,
		flags: func(*flag.FlagSet) func(context.Context, *environment, []string) int {
			return func(ctx context.Context, env *environment, _ []string) int {
				password, err := readPassword(ctx, env)
				if err != nil {
					env.complain("passwd: %v", err)
					return exitRefused
				}
				fmt.Fprintln(env.stdout, access.Hash(password))
				return exitDone
			}
		},
	}
}

// readPassword asks for a password twice on a terminal, or reads one line.
func readPassword(ctx context.Context, env *environment) ([]byte, error) {
	terminal, ok := env.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return readPasswordLine(env.stdin)
	}
	state, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	defer context.AfterFunc(ctx, func() { // a signal ends the wait, and the terminal must show again what is typed
		_ = term.Restore(int(terminal.Fd()), state)
		os.Exit(exitRefused)
	})()
	first, err := promptPassword(env, terminal, "Password: ")
	if err != nil {
		return nil, err
	}
	second, err := promptPassword(env, terminal, "Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two are not the same")
	}
	return first, nil
}

func promptPassword(env *environment, terminal *os.File, prompt string) ([]byte, error) {
	fmt.Fprint(env.stderr, prompt)
	password, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(env.stderr)
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	return password, checkPassword(password)
}

// readPasswordLine reads the only line of in, without its end.
func readPasswordLine(in io.Reader) ([]byte, error) {
	r := bufio.NewReader(io.LimitReader(in, access.MaxPasswordBytes+3)) // the line's end, and one byte to see that there is more
	line, err := r.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	if _, err := r.ReadByte(); err == nil && ended {
		return nil, errors.New("there is more than one line")
	}
	text = bytes.TrimSuffix(text, []byte("\r"))
	return text, checkPassword(text)
}

func checkPassword(password []byte) error {
	switch {
	case len(password) == 0:
		return errors.New("the password is empty")
	case len(password) > access.MaxPasswordBytes:
		return fmt.Errorf("the password is longer than %d bytes", access.MaxPasswordBytes)
	}
	return nil
}
