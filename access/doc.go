// Package access knows who may ask the bank for what.
//
// A [Registry] has the principals. A door learns from it who a client is: by user name and password ([Registry.Login]) or by a
// verified certificate ([Registry.Certified]). From then on there is only the principal's name, and the bank asks
// [Registry.Authorize] about every operation. [Registry.Replace] changes the users while all that goes on, and says who has
// lost something, so that the doors can end what those have open.
//
// Passwords are kept as Argon2id or bcrypt hashes ([Hash] makes one). To check one is made dear on purpose, so checks are
// bounded: only a few run at once, an address waits behind others but not behind its own crowd, and after a few failures an
// address has to wait before it may try that user again. What was right a moment ago is known without a check. Whether a
// user exists is not told: not by an answer, and not by the time it takes.
//
// Nothing here is written to a log: an [Observer] is told, and never a password or a hash.
package access
