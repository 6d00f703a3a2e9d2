package mqtt

import "time"

// The limits of this door. Those that an operator sets are in [Options]; PROTOCOL.md, "MQTT", says what a client sees when
// it reaches one.
const (
	// maxClientID is the most bytes of a client id. Longer ones are refused at CONNECT.
	maxClientID = 64
	// maxTopic is the most bytes of a topic of [Options], with the longest client id in it, of a response topic, and of a
	// topic filter. An operation with a longer response topic is forbidden, a longer filter is refused.
	maxTopic = 256
	// maxRootLevels is the most levels of a topic of [Options].
	maxRootLevels = 8
	// maxLevels is the most levels of a response topic or a topic filter: those of the replies topic, and as many below it. A
	// deeper one is treated as one too long.
	maxLevels = 2 * maxRootLevels
	// maxFilters is the most filters of one SUBSCRIBE. Those behind them are refused.
	maxFilters = 8
	// maxCorrelation is the most bytes of correlation data. An operation with more is too_large.
	maxCorrelation = 512
	// maxSubscriptions is the most filters of one session. One more is refused.
	maxSubscriptions = 16
	// ownShare is which part of all sessions one user may have, when Options.PerPrincipal does not say: a tenth.
	ownShare = 10
	// maxContentType is the most bytes of a content type that auditors get with the copy of an operation. They get a longer one
	// not at all.
	maxContentType = 256
	// maxCopies is the most bytes of copies that wait for one auditor. One more is dropped, and counted.
	maxCopies = 256 << 10
	// feedBytes is how many bytes of entries are gathered for one write to an auditor.
	feedBytes = 16 << 10
	// maxRemembered is the most answered QoS 1 operations of an MQTT 3 session that are remembered for a redelivery. The
	// oldest is forgotten; MQTT 5 needs no more than InFlight, which its Receive Maximum guarantees.
	maxRemembered = 1024
	// maxUnreleased is the most QoS 2 packet ids of a session that are in use, where Options.InFlight is not more: whoever goes on
	// without a PUBREL is disconnected.
	maxUnreleased = 1024
	// keptAnswers is how many of them are answered again, besides being acknowledged again.
	keptAnswers = 32
	// maxWindow is the most QoS 1 replies on their way to one client, whatever Receive Maximum it grants. More wait.
	maxWindow = 1024
	// windowMQTT3 is the same for a client of MQTT 3, which cannot say.
	windowMQTT3 = 256
	// maxExpiry is how long a session is kept after its connection ended. MQTT 5 clients that ask for more are told.
	maxExpiry = 7 * 24 * time.Hour
	// maxUnended is how many sessions of one client id may have ended without that being on stable storage. Then no new one is
	// begun, until a checkpoint makes up for them.
	maxUnended = 16
	// sweepEvery is how often expired sessions are thrown away.
	sweepEvery = time.Minute
	// sweepAgain is how long that is not done again for a CONNECT that finds no room: it takes as long as there are sessions.
	sweepAgain = time.Second
	// recordEvery is how often acknowledgements of replies are recorded. After a crash those since then come again.
	recordEvery = 20 * time.Millisecond
	// checkEvery is how often it is looked whether a checkpoint of the sessions is due.
	checkEvery = time.Second
	// checkpointEntries is how many entries there are between two checkpoints: a start reads so many again, besides the
	// journal's own.
	checkpointEntries = 1_000_000
	// checkpointBytes is how much is recorded between two checkpoints.
	checkpointBytes = 32 << 20
	// maxDrain bounds how long Serve answers what it accepted after it was told to stop.
	maxDrain = 10 * time.Second
	// farewellTime is how long a peer has to take the last packet before its connection is closed.
	farewellTime = time.Second
	// farewellBytes is how much is read and thrown away meanwhile, so that the close does not overtake the packet.
	farewellBytes = 1 << 20
	// maxBatch is the most replies in one write.
	maxBatch = 128
	// firstBuffer is the first size of a connection's read buffer, in bytes. It grows up to Options.Message.
	firstBuffer = 1 << 10
	// keptBuffer is the largest write buffer, in bytes, that is kept for the next write.
	keptBuffer = 64 << 10
	// webSocketMessages is how many messages of Options.Message bytes one WebSocket message may hold.
	webSocketMessages = 4
)

// The defaults of [Options].
const (
	DefaultReadTimeout  = 5 * time.Second
	DefaultIdleTimeout  = 5 * time.Minute
	DefaultWriteTimeout = 10 * time.Second
	DefaultMessage      = 16 << 10
	DefaultInFlight     = 256
	// DefaultSessions is the most sessions, connected and stored. A client that would be one more is refused at CONNECT.
	DefaultSessions = 1 << 16
	// DefaultWaiting is the most replies of one session that are owed, waiting or not acknowledged, besides InFlight. One
	// more operation is overloaded.
	DefaultWaiting = 4096
	// DefaultWaitingAll is the same for all sessions together. A principal has the part of it that it may have of all sessions.
	DefaultWaitingAll = 1 << 18
)

// The limits that [Observer.Limited] is told of. Those of logins and rates are the Access's and the Bank's to count.
const (
	LimitInFlight      = "in_flight"              // a client is read no further, or had more open than Receive Maximum
	LimitMessage       = "message"                // a packet, or the operation in it, is too large
	LimitIdleTimeout   = "idle_timeout"           // nothing came for one and a half keep-alives
	LimitWriteTimeout  = "write_timeout"          // a client did not take what was written
	LimitFilters       = "filters"                // a SUBSCRIBE has too many
	LimitFilterSize    = "filter_size"            // a filter has too many bytes or levels
	LimitSubscriptions = "subscriptions"          // a session has too many
	LimitCorrelation   = "correlation"            // correlation data have too many bytes
	LimitResponseTopic = "response_topic"         // a response topic has too many bytes or levels
	LimitSessions      = "sessions"               // there are as many as there may be
	LimitPerPrincipal  = "sessions_per_principal" // the principal has as many as it may
	LimitUnreleased    = "unreleased"             // a session has as many QoS 2 packet ids in use as it may
	LimitWaiting       = "waiting_replies"        // as many replies as may wait for a session
	LimitWaitingOwn    = "waiting_replies_user"   // as many as may wait for one principal's sessions
	LimitWaitingAll    = "waiting_replies_total"  // as many as may wait for all
)

// Limits returns all of them.
func Limits() []string {
	return []string{
		LimitInFlight, LimitMessage, LimitIdleTimeout, LimitWriteTimeout, LimitFilters, LimitFilterSize, LimitSubscriptions,
		LimitCorrelation, LimitResponseTopic, LimitSessions, LimitPerPrincipal, LimitUnreleased, LimitWaiting, LimitWaitingOwn, LimitWaitingAll,
	}
}

// Rejections returns all reasons that are given to [Observer.Rejected], those of package gate not among them.
func Rejections() []string {
	return []string{RejectedAddress, RejectedTLS, RejectedOrigin, RejectedTimeout, RejectedConnect, RejectedPacket}
}

// Reasons that are given to [Observer.Rejected].
const (
	RejectedAddress = "address" // not in allow_from
	RejectedTLS     = "tls"     // the handshake failed, or took too long
	RejectedOrigin  = "origin"  // a page that may not connect
	RejectedTimeout = "timeout" // no whole CONNECT in time
	RejectedConnect = "connect" // a CONNECT that is refused: its client id, will, credentials
	RejectedPacket  = "packet"  // a packet that ends the connection
)
