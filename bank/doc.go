// Package bank is the domain: one ledger that judges operations, moves money by double entry and answers each operation
// once. It imports nothing but the standard library and knows neither sockets, nor MQTT, nor files.
//
// An [Operation] is what a client asks and a [Reply] is what it is told. [Ledger.Decide] judges an operation against the
// book and writes down an [Entry]: the facts, as [Posting] values that sum to zero, together with the answer that was
// given. [Ledger.Post] applies an entry. Nothing else changes a balance, neither now nor at recovery.
//
// [Banco] is the front door. It takes operations from any number of goroutines, hands them in batches to an [Engine],
// which makes them durable, and calls back in the order of acceptance.
//
// A refusal is a [Code] in a Reply. An error means that the bank could not do its job.
package bank
