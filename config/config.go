// Package config reads config.yaml into a [Config] and says everything that is wrong with it at once.
//
// A [Problem] names the file and the line and tells what to write instead. A Config is the settings with defaults
// filled in; [Default] is the Config of an empty file. A [Secret] never shows itself in logs or errors.
//
// Reading is strict: an unknown or repeated key, a wrong type, an impossible value, an anchor, an alias, a tag or a
// second document is a problem. The files that the settings name (certificates, keys, password files) are read and
// checked too, so a Config without problems can be served. Relative paths are relative to the working directory. The
// package imports nothing of the gateway's own.
package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Bounds of the settings. A value outside them is a problem.
const (
	// MaxFileBytes is the largest settings file, in bytes; a larger one is not parsed.
	MaxFileBytes = 1 << 20
	// MaxProblems is the largest number of problems told in one run; one more says that the rest is left out.
	MaxProblems = 1000
	// MaxDecimals is the largest bank.decimals, in digits: ten to the ninth minor units still leave room for balances.
	MaxDecimals = 9
	// MaxRateDecimals is the largest number of digits after the point of bank.investment.rate.
	MaxRateDecimals = 9
	// MaxRateWhole is the largest bank.investment.rate: 10 makes eleven coins out of one.
	MaxRateWhole = 10
	// MinDuration is the shortest duration of any setting.
	MinDuration = time.Millisecond
	// MaxInvestment is the longest duration of bank.investment: a year.
	MaxInvestment = 365 * 24 * time.Hour
	// MaxListeners is the largest number of listeners of one door.
	MaxListeners = 64
	// MaxTopicBytes is the longest topic, in bytes, with a client id of 64 bytes in it.
	MaxTopicBytes = 256
	// MaxTopicLevels is the largest number of levels of a topic.
	MaxTopicLevels = 8
	// MaxConnections is the largest limits.connections, and of the other two that count connections.
	MaxConnections = 1_000_000
	// MinMessage is the smallest limits.message: below it a legacy operation might not fit.
	MinMessage Size = 256
	// MaxMessage is the largest limits.message: no codec takes more.
	MaxMessage = 64 * KiB
	// MaxReadTimeout is the longest limits.read_timeout.
	MaxReadTimeout = time.Hour
	// MaxIdleTimeout is the longest limits.idle_timeout.
	MaxIdleTimeout = 7 * 24 * time.Hour
	// MaxInFlight is the largest limits.in_flight: the largest Receive Maximum that MQTT 5 can say.
	MaxInFlight = 65_535
	// MaxHeadsEvery is the longest ledger.heads.every.
	MaxHeadsEvery = 24 * time.Hour
	// MaxHeadsEntries is the largest ledger.heads.every_entries: as many entries as a head can stand for.
	MaxHeadsEntries = 65_536
	// MaxSessions is the largest mqtt.sessions. Each takes a few hundred bytes of memory.
	MaxSessions = 10_000_000
	// MaxWaitingReplies is the largest mqtt.waiting_replies: each reply needs a packet id of its own.
	MaxWaitingReplies = 65_535
	// MaxWaitingRepliesTotal is the largest mqtt.waiting_replies_total. Each takes a few hundred bytes of memory.
	MaxWaitingRepliesTotal = 100_000_000
	// MaxOperationRate is the largest limits.rate, in operations per second.
	MaxOperationRate = 1_000_000
	// MaxBurst is the largest limits.burst, in operations.
	MaxBurst = 10_000_000
)

// Config is all settings, each with a value. It is plain data: a copy may be changed freely, but its slices are shared.
type Config struct {
	Bank   Bank   `key:"bank"`
	Ledger Ledger `key:"ledger"`
	Socket Socket `key:"socket"`
	MQTT   MQTT   `key:"mqtt"`
	Admin  Admin  `key:"admin"`
	Auth   Auth   `key:"auth"`
	Limits Limits `key:"limits"`
	Log    Log    `key:"log"`
}

// Bank is how the bank counts and what it does by itself.
type Bank struct {
	Decimals       int        `key:"decimals"`        // digits of the minor unit, 0 to MaxDecimals
	CreateAccounts bool       `key:"create_accounts"` // first use opens an account
	Investment     Investment `key:"investment"`
}

// Investment is the yield credited to every positive balance once a period. Hold is always shorter than Every.
type Investment struct {
	Enabled    bool          `key:"enabled"`
	FirstAfter time.Duration `key:"first_after"`
	Every      time.Duration `key:"every"`
	Hold       time.Duration `key:"hold"`
	Rate       Rate          `key:"rate"`
}

// Rate is a decimal fraction exactly as written, such as "0.10": digits, and after a point up to MaxRateDecimals more;
// more than zero, at most MaxRateWhole.
type Rate string

// Ledger is where the book is kept. Path is never empty, though the memory engine does not use it.
type Ledger struct {
	Engine Engine `key:"engine"`
	Path   string `key:"path"`
	Heads  Heads  `key:"heads"`
}

// Heads are what the gateway signs of the journal, when Engine is Embedded.
type Heads struct {
	Enabled      bool          `key:"enabled"`
	Every        time.Duration `key:"every"`         // from one to the next, if there are new entries
	EveryEntries int           `key:"every_entries"` // new entries that make one before that
	KeyFile      string        `key:"key_file"`      // "": head.key in Ledger.Path, made when it is missing; else it was read
	Copy         string        `key:"copy"`          // "" or a file to which they are appended too
}

// Engine names what keeps the book.
type Engine string

// The engines: one of its own in a directory, and one that forgets everything at exit.
const (
	Embedded Engine = "embedded"
	Memory   Engine = "memory"
)

// Socket is the raw socket door. It has no listeners when the file says `listeners: []`.
type Socket struct {
	Listeners []SocketListener `key:"listeners"`
}

// SocketListener is one address of the socket door. Address is an IP address or localhost, and a port; port 0 takes
// any free one.
type SocketListener struct {
	Address   string         `key:"address"`
	Codec     Codec          `key:"codec"`
	Session   bool           `key:"session"`    // many operations per connection instead of one
	TLS       *TLS           `key:"tls"`        // nil: plain
	AllowFrom []netip.Prefix `key:"allow_from"` // nil: any address; each is masked, IPv4 as IPv4
	Principal string         `key:"principal"`  // "": none; otherwise the name of one of Auth.Users
}

// Codec names the bytes of a socket listener.
type Codec string

// The codecs.
const (
	Pickle  Codec = "pickle"
	Msgpack Codec = "msgpack"
	JSON    Codec = "json"
)

// MQTT is the MQTT door. It has no listeners when the file says `listeners: []`.
type MQTT struct {
	Listeners       []MQTTListener `key:"listeners"`
	OperationsTopic string         `key:"operations_topic"` // without wildcards
	RepliesTopic    string         `key:"replies_topic"`    // one of its levels is ClientID; never covers OperationsTopic
	// Sessions bounds the sessions, connected and stored. WaitingReplies bounds the replies of one that are not acknowledged,
	// besides Limits.InFlight, and WaitingRepliesTotal those of all.
	Sessions             int `key:"sessions"`
	SessionsPerPrincipal int `key:"sessions_per_principal"` // 0: a tenth of Sessions for a user, all for who is anonymous
	WaitingReplies       int `key:"waiting_replies"`
	WaitingRepliesTotal  int `key:"waiting_replies_total"`
}

// HeadsFile is the file of the heads in Ledger.Path, of which Heads.Copy is a copy.
const HeadsFile = "heads"

// JournalTopic and HeadTopic are where auditors read the journal and its signed heads; no setting may use them.
const (
	JournalTopic = "bank/journal"
	HeadTopic    = "bank/head"
)

// ClientID is the level of MQTT.RepliesTopic that stands for the client's id.
const ClientID = "{client_id}"

// MQTTListener is one address of the MQTT door.
type MQTTListener struct {
	Address   string         `key:"address"`
	WebSocket bool           `key:"websocket"`
	TLS       *TLS           `key:"tls"`
	AllowFrom []netip.Prefix `key:"allow_from"`
	Origins   []string       `key:"origins"` // nil unless WebSocket; as browsers send them: scheme://host[:port], lower case
}

// TLS names the PEM files of a listener. Cert and Key were read and match; ClientCA is "" or holds a certificate.
type TLS struct {
	Cert     string `key:"cert"`
	Key      string `key:"key"`
	ClientCA string `key:"client_ca"`
}

// Admin is the operators' HTTP. Address is always on loopback; "" turns it off.
type Admin struct {
	Address string `key:"address"`
}

// Auth is who may ask.
type Auth struct {
	Anonymous Anonymous `key:"anonymous"`
	Users     []User    `key:"users"`
}

// Anonymous says from where one may act without credentials.
type Anonymous string

// Anonymous clients are served on loopback, or not at all.
const (
	Loopback Anonymous = "loopback"
	Never    Anonymous = "never"
)

// AnonymousName is the principal of everyone without credentials; no user may have it.
const AnonymousName = "anonymous"

// User is a principal with its credentials and rights, defaults filled in. At least one of Password and Certificate is
// set, unless a listener's principal names the user; one that has neither cannot log in anywhere else.
type User struct {
	Name         string   `key:"name"`          // as a client id, but not AnonymousName; unique
	Password     Secret   `key:"password"`      // a hash, whether the file held it or PasswordFile did
	PasswordFile string   `key:"password_file"` // "" or the file that Password came from
	Certificate  string   `key:"certificate"`   // "" or a DNS name or URI; unique
	Accounts     []string `key:"accounts"`      // account names, or All; nil only for an auditor
	Operations   []string `key:"operations"`    // never empty
	ClientIDs    []string `key:"client_ids"`    // never empty; a pattern may end in *
	Auditor      bool     `key:"auditor"`       // reads all, moves nothing
}

// All in User.Accounts stands for every account.
const All = "*"

// Limits bound what clients may cost.
type Limits struct {
	Connections int `key:"connections"`
	// ConnectionsPerAddress bounds those of one address, an IPv6 /64 counting as one; 0: a tenth of Connections, and no bound
	// on loopback. ConnectionsUnknown bounds those whose client is not known yet.
	ConnectionsPerAddress int           `key:"connections_per_address"`
	ConnectionsUnknown    int           `key:"connections_unknown"`
	Message               Size          `key:"message"`
	ReadTimeout           time.Duration `key:"read_timeout"`
	IdleTimeout           time.Duration `key:"idle_timeout"`
	InFlight              int           `key:"in_flight"`
	Rate                  int           `key:"rate"`  // operations per second per principal; 0: no limit
	Burst                 int           `key:"burst"` // how many of them at once after silence; 0: two seconds' worth
}

// Log is what is logged and how.
type Log struct {
	Level  slog.Level `key:"level"`
	Format LogFormat  `key:"format"`
}

// LogFormat names how a log line is written.
type LogFormat string

// The log formats, by slog's handlers.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Default returns the settings of an empty file. Each call returns slices of its own.
func Default() Config {
	return Config{
		Bank: Bank{
			Decimals:       2,
			CreateAccounts: true,
			Investment: Investment{
				FirstAfter: 20 * time.Second,
				Every:      15 * time.Second,
				Hold:       5 * time.Second,
				Rate:       "0.10",
			},
		},
		Ledger: Ledger{
			Engine: Embedded, Path: "data",
			Heads: Heads{Enabled: true, Every: 10 * time.Second, EveryEntries: 10_000},
		},
		Socket: Socket{Listeners: []SocketListener{
			{Address: "127.0.0.1:9999", Codec: Pickle},
			{Address: "127.0.0.1:9998", Codec: Msgpack},
		}},
		MQTT: MQTT{
			Listeners: []MQTTListener{
				{Address: "127.0.0.1:1883"},
				{Address: "127.0.0.1:8083", WebSocket: true},
			},
			OperationsTopic: "bank/ops",
			RepliesTopic:    "bank/replies/" + ClientID,

			Sessions:            65_536,
			WaitingReplies:      4096,
			WaitingRepliesTotal: 262_144,
		},
		Admin: Admin{Address: "127.0.0.1:8080"},
		Auth:  Auth{Anonymous: Loopback},
		Limits: Limits{
			Connections:        10_000,
			ConnectionsUnknown: 1024,
			Message:            16 * KiB,
			ReadTimeout:        5 * time.Second,
			IdleTimeout:        5 * time.Minute,
			InFlight:           256,
		},
		Log: Log{Level: slog.LevelInfo, Format: LogText},
	}
}
