package access_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"gateway/access"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("192.0.2.2")
)

// cheapHash is a hash whose check takes microseconds.
func cheapHash(password string) string {
	salt := []byte("0123456789abcdef")
	key := base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 8, 1, 32))
	return "$argon2id$v=19$m=8,t=1,p=1$" + base64.RawStdEncoding.EncodeToString(salt) + "$" + key
}

func ana(password string) access.User { return access.User{Name: "ana", Hash: cheapHash(password)} }

func login(r *access.Registry, from netip.Addr, user, password string) error {
	name, err := r.Login(context.Background(), from, user, []byte(password))
	if err == nil && name != user {
		return fmt.Errorf("logged in as %q", name)
	}
	return err
}

func TestAPasswordIsRightOrWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bcryptOfSecret = "$2a$04$5rJ0Q8vR2NBmLJ9h1ZQhXeXw3S1vYh0mI3yq5m0d1o5k0Qf0mJx9a" // of nothing that is known
		r := registry(t, access.Options{}, ana("secret"), access.User{Name: "crypt", Hash: bcryptOfSecret},
			access.User{Name: "made", Hash: access.Hash([]byte("å pass"))}, access.User{Name: "cert", Certificate: "c.example"})
		for _, c := range []struct {
			user, password string
			want           error
		}{
			{"ana", "secret", nil}, {"ana", "secret", nil}, {"ana", "Secret", access.ErrWrong}, {"ana", "", access.ErrWrong},
			{"ana", "secret\x00", access.ErrWrong}, {"Ana", "secret", access.ErrWrong}, {"", "", access.ErrWrong},
			{"crypt", "secret", access.ErrWrong}, {"made", "å pass", nil}, {"cert", "", access.ErrWrong},
			{"anonymous", "", access.ErrWrong}, {"ana", strings.Repeat("x", 5000), access.ErrWrong},
			{strings.Repeat("u", 5000), "x", access.ErrWrong},
		} {
			if err := login(r, here, c.user, c.password); !errors.Is(err, c.want) {
				t.Errorf("%.20q, %.20q: %v, want %v", c.user, c.password, err, c.want)
			}
		}
	})
}

// TestX1FailuresAreSlowedAndThenDelayed tries as fast as it is let, for an hour.
func TestX1FailuresAreSlowedAndThenDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		r := registry(t, access.Options{Observer: w}, ana("secret"))
		began := time.Now()
		tries := 0
		for ; time.Since(began) < time.Minute; tries++ {
			if errors.Is(login(r, here, "ana", fmt.Sprint("guess ", tries)), access.ErrDelayed) {
				<-time.After(10 * time.Millisecond)
			}
		}
		first := w.count(access.Wrong)
		if first > 10 || first < 5 {
			t.Errorf("%d of %d tries were looked at in the first minute", first, tries)
		}
		for ; time.Since(began) < time.Hour; tries++ {
			if errors.Is(login(r, here, "ana", fmt.Sprint("guess ", tries)), access.ErrDelayed) {
				<-time.After(100 * time.Millisecond)
			}
		}
		if later := w.count(access.Wrong) - first; later > 59 {
			t.Errorf("%d tries were looked at in the 59 minutes after", later)
		}
		if err := login(r, here, "ana", "secret"); !errors.Is(err, access.ErrDelayed) {
			t.Errorf("the right password as soon: %v", err)
		}
		<-time.After(time.Minute)
		if err := login(r, here, "ana", "secret"); err != nil {
			t.Errorf("the right password a minute later: %v", err)
		}
		if err := login(r, here, "ana", "wrong"); !errors.Is(err, access.ErrWrong) {
			t.Errorf("success did not forget the failures: %v", err)
		}
	})
}

// TestX1ManyTriesAtOnceAreNoWayRound has all of them begin before the first has failed.
func TestX1ManyTriesAtOnceAreNoWayRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		r := registry(t, access.Options{Observer: w}, ana("secret"))
		var tries sync.WaitGroup
		for i := range 1000 {
			tries.Go(func() { login(r, here, "ana", fmt.Sprint("guess ", i)) })
		}
		tries.Wait()
		if got := w.count(access.Wrong); got != 5 {
			t.Errorf("%d of 1,000 were looked at, want 5", got)
		}
	})
}

// TestX1ANetworkHasSoManyFailures goes through users instead of passwords.
func TestX1ANetworkHasSoManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		r := registry(t, access.Options{Observer: w}, ana("secret"))
		if err := login(r, here, "ana", "secret"); err != nil {
			t.Fatal(err)
		}
		six := netip.MustParseAddr("2001:db8::1")
		for i := range 2000 {
			user := fmt.Sprint("user", i)
			var tries sync.WaitGroup // the holds are beside one another
			tries.Go(func() { login(r, here, user, "x") })
			tries.Go(func() { login(r, six, user, "x") })
			tries.Wait()
			six = six.Next()
		}
		// 2,000 tries took 200 s, in which 66 more are granted.
		if got := w.count(access.Wrong); got < 120 || got > 2*(60+67) {
			t.Errorf("%d of 4,000 tries from two networks were looked at", got)
		}
		if err := login(r, here, "ana", "secret"); err != nil {
			t.Errorf("who logged in a while ago, from the same network: %v", err)
		}
		if err := login(r, here, "ana", "other"); !errors.Is(err, access.ErrDelayed) {
			t.Errorf("a guess at it: %v", err)
		}
		if err := login(r, there, "ana", "secret"); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
	})
}

func TestWhatWasRightIsKnownForAWhileAndNoLongerThanItIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry(t, access.Options{}, ana("secret"))
		for range 3 {
			if err := login(r, here, "ana", "secret"); err != nil {
				t.Fatal(err)
			}
			<-time.After(50 * time.Minute)
		}
		if _, err := r.Replace([]access.User{ana("other")}); err != nil {
			t.Fatal(err)
		}
		if err := login(r, here, "ana", "secret"); !errors.Is(err, access.ErrWrong) {
			t.Errorf("the old password: %v", err)
		}
		if err := login(r, here, "ana", "other"); err != nil {
			t.Errorf("the new one: %v", err)
		}
		if _, err := r.Replace(nil); err != nil {
			t.Fatal(err)
		}
		if err := login(r, here, "ana", "other"); !errors.Is(err, access.ErrWrong) {
			t.Errorf("a user who is gone: %v", err)
		}
	})
}

// A password that was right is checked again after an hour: who may not be checked now is told so then, and not before.
func TestWhatWasRightIsCheckedAgainAfterAnHour(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		want  error
	}{{after: 58 * time.Minute}, {after: 61 * time.Minute, want: access.ErrDelayed}} {
		synctest.Test(t, func(t *testing.T) {
			r := registry(t, access.Options{}, ana("secret"))
			if err := login(r, here, "ana", "secret"); err != nil {
				t.Fatal(err)
			}
			<-time.After(test.after)
			var tries sync.WaitGroup
			for i := range 100 { // more failures than a network has
				tries.Go(func() { login(r, here, fmt.Sprint("user", i), "x") })
			}
			synctest.Wait()
			if err := login(r, here, "ana", "secret"); !errors.Is(err, test.want) {
				t.Errorf("after %v: %v, want %v", test.after, err, test.want)
			}
			tries.Wait()
		})
	}
}

// A password that is another's hash by the time it has been checked lets nobody in. Both are of the same password, so that only a
// change in the middle of a check refuses it.
func TestALoginDoesNotOutliveAChangeDuringItsCheck(t *testing.T) {
	hashes := []string{access.Hash([]byte("secret")), access.Hash([]byte("secret"))}
	r := registry(t, access.Options{}, access.User{Name: "ana", Hash: hashes[0]})
	for began, i := time.Now(), 1; time.Since(began) < time.Minute; i++ {
		ended := make(chan error)
		go func() { ended <- login(r, here, "ana", "secret") }()
		for range 1000 {
			runtime.Gosched()
		}
		if _, err := r.Replace([]access.User{{Name: "ana", Hash: hashes[i%2]}}); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; errors.Is(err, access.ErrWrong) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("no login was refused in a minute of changes")
}

// TestALoginEndsWithItsContext has one wait behind a failure's hold.
func TestALoginEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry(t, access.Options{}, ana("secret"))
		var other sync.WaitGroup
		other.Go(func() { login(r, here, "ana", "x") })
		defer other.Wait()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := r.Login(ctx, here, "ana", []byte("secret")); !errors.Is(err, access.ErrBusy) {
			t.Errorf("%v", err)
		}
	})
}

// TestX2AnUnknownUserTakesAsLongAsAWrongPassword compares the times by Welch's test, of checks that take a tenth of a real one.
func TestX2AnUnknownUserTakesAsLongAsAWrongPassword(t *testing.T) {
	salt := []byte("0123456789abcdef")
	encoding := base64.RawStdEncoding
	key := argon2.IDKey([]byte("secret"), salt, 2, 1024, 1, 32)
	hash := "$argon2id$v=19$m=1024,t=2,p=1$" + encoding.EncodeToString(salt) + "$" + encoding.EncodeToString(key)
	tellApart(t, hash, 1000)
}

// TestX2TheTimesOfRealChecks does so with a hash as users have it, which is `make attack`'s: a check takes tens of milliseconds.
func TestX2TheTimesOfRealChecks(t *testing.T) {
	if os.Getenv("GATEWAY_ATTACK") == "" {
		t.Skip("SKIPPED: it takes half a minute; make attack")
	}
	tellApart(t, access.Hash([]byte("secret")), 300)
}

// tellApart fails when so many samples of a known user and of an unknown one tell which is which.
func tellApart(t *testing.T, hash string, samples int) {
	t.Helper()
	r := registry(t, access.Options{}, access.User{Name: "ana", Hash: hash})
	times := map[string][]float64{}
	from := here
	for i := range samples {
		users := []string{"ana", "eva"}
		if rand.IntN(2) == 0 {
			slices.Reverse(users)
		}
		for _, user := range users {
			from = from.Next() // a network of its own, whose first failure it is
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // the answer is not held, and whoever has no place to wait goes: there is one
			began := time.Now()
			_, err := r.Login(ctx, from, user, []byte(fmt.Sprint("guess ", i)))
			took := time.Since(began)
			if errors.Is(err, access.ErrWrong) {
				times[user] = append(times[user], float64(took))
			}
		}
	}
	known, unknown := times["ana"], times["eva"]
	if len(known) < samples/3 || len(unknown) < samples/3 {
		t.Fatalf("only %d and %d were looked at", len(known), len(unknown))
	}
	statistic := welch(trimmed(known), trimmed(unknown))
	t.Logf("X2: 2 x %d samples, known %.0f µs, unknown %.0f µs, t %.2f (4.5)", samples, mean(known)/1e3, mean(unknown)/1e3, statistic)
	if math.Abs(statistic) > 4.5 {
		t.Errorf("t is %.2f", statistic)
	}
}

// trimmed leaves out the slowest tenth, which is the machine's doing.
func trimmed(x []float64) []float64 {
	slices.Sort(x)
	return x[:len(x)*9/10]
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func welch(a, b []float64) float64 {
	variance := func(x []float64) float64 {
		m, sum := mean(x), 0.0
		for _, v := range x {
			sum += (v - m) * (v - m)
		}
		return sum / float64(len(x)-1)
	}
	return (mean(a) - mean(b)) / math.Sqrt(variance(a)/float64(len(a))+variance(b)/float64(len(b)))
}
