package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gateway/access"
	"gateway/bank"
	"gateway/gate"
	"gateway/transport/mqtt"
	"gateway/transport/socket"
)

// namespace begins the name of everything measured here.
const namespace = "gateway"

// maxScrapes bounds the answers to /metrics that are made at the same time.
const maxScrapes = 4

// metrics is all that the program measures. No label is ever made of what a client chose: not an account, not a client
// id, not an address.
type metrics struct {
	registry *prometheus.Registry
	doors    map[bank.Door]*doorMetrics // read only
	journal  journalMetrics
	bank     bankMetrics
	access   accessMetrics
	reload   reloadMetrics
}

func newMetrics(b build) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), doors: map[bank.Door]*doorMetrics{}}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.gauge("build_info", "1; the labels tell the version that runs.", prometheus.Labels{
		"version": b.version, "commit": b.commit, "go": b.goVersion,
	}, func() float64 { return 1 })
	m.addDoors()
	m.addJournal()
	m.addBank()
	m.addAccess()
	return m
}

// handler answers /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// gauge adds a value that f tells when it is asked.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: name, Help: help, ConstLabels: labels,
	}, f))
}

// counter adds a count that f tells when it is asked.
func (m *metrics) counter(name, help string, f func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help,
	}, func() float64 { return float64(f()) }))
}

// durationBuckets reaches from a sync on the fastest disks to where every client has given up, in seconds.
func durationBuckets() []float64 {
	return []float64{
		100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10,
	}
}

// doorMetrics is the Observer of one transport. Its children are looked up once, so that an operation costs no search
// by label. Any goroutine may call its methods.
type doorMetrics struct {
	operations  [][]prometheus.Counter // by kind and code
	durations   []prometheus.Observer  // by kind
	connections prometheus.Gauge
	rejected    *prometheus.CounterVec        // by reason
	limited     map[string]prometheus.Counter // by limit; read only
}

// Operation counts an operation that was answered, took after it was read whole.
func (d *doorMetrics) Operation(kind bank.Kind, code bank.Code, took time.Duration) {
	if int(kind) >= len(d.operations) || int(code) >= len(d.operations[kind]) {
		return
	}
	d.operations[kind][code].Inc()
	d.durations[kind].Observe(took.Seconds())
}

// Connection counts a connection that opened or closed.
func (d *doorMetrics) Connection(opened bool) {
	if opened {
		d.connections.Inc()
		return
	}
	d.connections.Dec()
}

// Rejected counts a connection that was not served. The reasons are the transport's own words.
func (d *doorMetrics) Rejected(reason string) { d.rejected.WithLabelValues(reason).Inc() }

// Limited counts a limit that a client has reached. The limits are the transport's own words.
func (d *doorMetrics) Limited(limit string) {
	if reached := d.limited[limit]; reached != nil {
		reached.Inc()
	}
}

// words are what a transport calls the things that are counted.
type words struct{ rejections, limits []string }

// doorWords are those of both transports, so that what has not happened yet shows as 0.
func doorWords() map[bank.Door]words {
	gates := []string{gate.LimitConnections, gate.LimitPerAddress, gate.LimitUnknown}
	return map[bank.Door]words{
		bank.DoorSocket: {append(socket.Rejections(), gates...), socket.Limits()},
		bank.DoorMQTT:   {append(mqtt.Rejections(), gates...), mqtt.Limits()},
	}
}

func (m *metrics) addDoors() {
	operations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "operations_total",
		Help: "Operations answered, by the door they came in by, what they asked and how they ended.",
	}, []string{"transport", "kind", "code"})
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "operation_duration_seconds", Buckets: durationBuckets(),
		Help: "Time from an operation's last byte to its answer.",
	}, []string{"transport", "kind"})
	connections := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "connections", Help: "Open connections.",
	}, []string{"transport"})
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "connections_rejected_total", Help: "Connections closed before they were served.",
	}, []string{"transport", "reason"})
	limited := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "limits_reached_total",
		Help: "Limits that clients have reached, but for those of connections, rates and logins, which have counters of their own.",
	}, []string{"transport", "limit"})
	m.registry.MustRegister(operations, durations, connections, rejected, limited)
	for door, words := range doorWords() {
		name := door.String()
		d := &doorMetrics{
			connections: connections.WithLabelValues(name),
			rejected:    rejected.MustCurryWith(prometheus.Labels{"transport": name}),
			limited:     map[string]prometheus.Counter{},
		}
		for _, reason := range words.rejections {
			d.rejected.WithLabelValues(reason)
		}
		for _, limit := range words.limits {
			d.limited[limit] = limited.WithLabelValues(name, limit)
		}
		for kind := bank.Kind(0); kind <= bank.KindStatus; kind++ {
			kindName := kind.String()
			if kind == 0 {
				kindName = "unknown"
			}
			var byCode []prometheus.Counter
			for _, code := range bank.Codes() {
				byCode = append(byCode, operations.WithLabelValues(name, kindName, code.String()))
			}
			d.operations = append(d.operations, byCode)
			d.durations = append(d.durations, durations.WithLabelValues(name, kindName))
		}
		m.doors[door] = d
	}
}

// journalMetrics is the Observer of the journal.
type journalMetrics struct {
	syncs, entries, snapshots prometheus.Histogram
	bytes, snapshotFailures   prometheus.Counter
	snapshotSeq, snapshotTime prometheus.Gauge
}

// Synced notes a batch that became durable.
func (j *journalMetrics) Synced(entries, bytes int, took time.Duration) {
	j.syncs.Observe(took.Seconds())
	j.entries.Observe(float64(entries))
	j.bytes.Add(float64(bytes))
}

// Snapshot notes a snapshot that was written, or was not.
func (j *journalMetrics) Snapshot(seq uint64, took time.Duration, err error) {
	if err != nil {
		j.snapshotFailures.Inc()
		return
	}
	j.snapshots.Observe(took.Seconds())
	j.snapshotSeq.Set(float64(seq))
	j.snapshotTime.SetToCurrentTime()
}

func (m *metrics) addJournal() {
	const subsystem = "journal"
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	m.journal = journalMetrics{
		syncs:            histogram("sync_duration_seconds", "Time of a write and its sync.", durationBuckets()),
		entries:          histogram("batch_entries", "Entries made durable by one sync.", batchBuckets()),
		snapshots:        histogram("snapshot_duration_seconds", "Time to write a snapshot.", prometheus.ExponentialBuckets(0.01, 4, 8)),
		bytes:            counter("bytes_total", "Bytes of entries written."),
		snapshotFailures: counter("snapshot_failures_total", "Snapshots that could not be written; the journal has it all."),
		snapshotSeq:      gauge("snapshot_seq", "The last entry in the newest snapshot of this run."),
		snapshotTime:     gauge("snapshot_timestamp_seconds", "When that snapshot was written, in seconds since 1970."),
	}
	j := &m.journal
	m.registry.MustRegister(j.syncs, j.entries, j.snapshots, j.bytes, j.snapshotFailures, j.snapshotSeq, j.snapshotTime)
}

func batchBuckets() []float64 { return prometheus.ExponentialBuckets(1, 2, 14) }

// bankMetrics is the committer's Observer.
type bankMetrics struct {
	batches, commits prometheus.Histogram
	waiting          prometheus.Gauge
	yields           *prometheus.CounterVec
	yielded          func(period string, reply bank.Reply, err error) // set before the committer runs; nil: nobody is told
}

// Batch notes a batch that was committed.
func (b *bankMetrics) Batch(size, waiting int, took time.Duration) {
	b.batches.Observe(float64(size))
	b.commits.Observe(took.Seconds())
	b.waiting.Set(float64(waiting))
}

// Yield counts a yield by how it ended; one that was paid before the restart is "repeated".
func (b *bankMetrics) Yield(period string, reply bank.Reply, err error) {
	outcome := reply.Code.String()
	if reply.Duplicate {
		outcome = "repeated"
	}
	b.yields.WithLabelValues(outcome).Inc()
	if b.yielded != nil {
		b.yielded(period, reply, err)
	}
}

func (m *metrics) addBank() {
	m.bank = bankMetrics{
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "batch_operations", Help: "Operations judged together.", Buckets: batchBuckets(),
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "commit_duration_seconds", Help: "Time to judge a batch and make it durable.",
			Buckets: durationBuckets(),
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "queue_waiting", Help: "Operations that had arrived when the last batch was done.",
		}),
		yields: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "yields_total", Help: "Yields of the investment, by how they ended.",
		}, []string{"outcome"}),
	}
	m.registry.MustRegister(m.bank.batches, m.bank.commits, m.bank.waiting, m.bank.yields)
}

// accessMetrics is what the registry of principals denies.
type accessMetrics struct {
	logins  *prometheus.CounterVec // by outcome
	refused *prometheus.CounterVec // by transport and code
}

// Login counts a try to log in.
func (a *accessMetrics) Login(outcome access.Outcome) {
	a.logins.WithLabelValues(string(outcome)).Inc()
}

// Refused counts an operation that its principal may not do, or not so often.
func (a *accessMetrics) Refused(door bank.Door, code bank.Code) {
	a.refused.WithLabelValues(door.String(), code.String()).Inc()
}

// reloadMetrics tells of the settings' reloads.
type reloadMetrics struct {
	reloads    *prometheus.CounterVec // by outcome
	last, when prometheus.Gauge
}

func (r *reloadMetrics) done(ok bool, now time.Time) {
	outcome, last := "refused", 0.0
	if ok {
		outcome, last = "ok", 1
		r.when.Set(float64(now.UnixMilli()) / 1e3)
	}
	r.reloads.WithLabelValues(outcome).Inc()
	r.last.Set(last)
}

func (m *metrics) addAccess() {
	m.access = accessMetrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "logins_total", Help: "Tries to log in by a password, by how they ended.",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "operations_denied_total",
			Help: "Operations whose principal may not do them, or not so often.",
		}, []string{"transport", "code"}),
	}
	m.reload = reloadMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "reloads_total", Help: "Reloads of the settings, by how they ended.",
		}, []string{"outcome"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "last_reload_successful", Help: "1 unless the last reload was refused.",
		}),
		when: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "last_reload_timestamp_seconds",
			Help: "When settings were last taken in by a reload, in seconds since 1970; 0: never.",
		}),
	}
	for _, outcome := range []access.Outcome{access.LoggedIn, access.Wrong, access.Delayed, access.Busy} {
		m.access.logins.WithLabelValues(string(outcome))
	}
	for _, code := range []bank.Code{bank.Unauthorized, bank.Forbidden, bank.Overloaded} {
		for door := range m.doors {
			m.access.refused.WithLabelValues(door.String(), code.String())
		}
	}
	m.reload.last.Set(1)
	m.registry.MustRegister(m.access.logins, m.access.refused, m.reload.reloads, m.reload.last, m.reload.when)
}
