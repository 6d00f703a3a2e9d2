package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// The units of a Size.
const (
	B   Size = 1
	KiB      = 1024 * B
	MiB      = 1024 * KiB
	GiB      = 1024 * MiB
)

// String returns the size as the settings write it, in the largest unit that divides it: "16KiB".
func (s Size) String() string {
	switch {
	case s == 0:
	case s%GiB == 0:
		return fmt.Sprintf("%dGiB", s/GiB)
	case s%MiB == 0:
		return fmt.Sprintf("%dMiB", s/MiB)
	case s%KiB == 0:
		return fmt.Sprintf("%dKiB", s/KiB)
	}
	return fmt.Sprintf("%dB", int64(s))
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,19})(B|KiB|MiB|GiB)$`)

func parseSize(text string) (Size, error) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("must be a size such as 512B, 64KiB, 1MiB or 1GiB")
	}
	unit := map[string]Size{"B": B, "KiB": KiB, "MiB": MiB, "GiB": GiB}[m[2]]
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return 0, errors.New("must be a smaller size")
	}
	return Size(n) * unit, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("must be a duration such as 500ms, 20s, 5m or 1h30m")
	}
	return d, nil
}

var ratePattern = regexp.MustCompile(`^(0|[1-9][0-9]?)(\.[0-9]{1,9})?$`)

func parseRate(text string) (Rate, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	above := strings.Trim(fraction, "0") != ""
	n, _ := strconv.Atoi(whole)
	switch {
	case !ratePattern.MatchString(text):
		return "", fmt.Errorf(`must be a decimal such as "0.10", with at most %d digits after the point`, MaxRateDecimals)
	case n == 0 && !above:
		return "", errors.New("must be more than zero")
	case n > MaxRateWhole, n == MaxRateWhole && above:
		return "", fmt.Errorf("must be at most %d", MaxRateWhole)
	}
	return Rate(text), nil
}

func parseLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("must be debug, info, warn or error")
}

// parsePrefix reads a network or a single address. Host bits are cut, as most servers do with 10.1.2.3/16.
func parsePrefix(text string) (netip.Prefix, error) {
	wrong := errors.New(`must be a network such as "10.1.0.0/16" or an address such as "10.1.2.3"`)
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, wrong
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, wrong
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, errors.New(`must name an IPv4 network as IPv4, such as "10.1.0.0/16"`)
	}
	return prefix.Masked(), nil
}

// Secret is a password's hash. Whatever prints, logs or encodes it shows "****"; string(s) is the hash itself.
type Secret string

const redacted = "****"

// Format hides the secret from every verb of fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String hides the secret.
func (Secret) String() string { return redacted }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
