"""A client of the legacy bank, with its classes and its habits: one recv for the ack, one recv of 2048 for the reply.

legacy.py write        one line per operation and protocol: its name, a tab, the pickle in hex
legacy.py PORT HOST    performs operations at every protocol and says "done", or what went wrong
"""
import binascii
import os
import pickle
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "pickle", "testdata"))
from dominio.Operacao import Deposito, Saldo, Saque, Transferencia  # noqa: E402

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def perform(address, operation, protocol):
    s = socket.create_connection(address, 20)
    try:
        if pickle.loads(s.recv(1024)) is not True:
            raise AssertionError("the ack is not True")
        s.sendall(pickle.dumps(operation, protocol))
        reply = pickle.loads(s.recv(2048))
        if s.recv(2048) != b"":
            raise AssertionError("the reply came in pieces")
        return reply
    finally:
        s.close()


def expect(address, protocol, operation, status, msg):
    reply = perform(address, operation, protocol)
    if sorted(reply) != ["msg", "status"] or reply["status"] is not status:
        raise AssertionError("protocol %d: %r" % (protocol, reply))
    said = reply["msg"]
    if not status:
        said = said[:len(msg)]
    if said != msg or type(said) is not type(msg):
        raise AssertionError("protocol %d: %r, not %r" % (protocol, reply, msg))


def session(address, protocol):
    a, b = "a%d" % protocol, "b%d" % protocol
    for operation, status, msg in [
        (Saldo(a), True, 0),
        (Deposito(a, 50), True, 50),
        (Saldo(a), True, 50),
        (Saque(a, 20), True, None),
        (Transferencia(a, b, 10), True, None),
        (Saldo(a), True, 20),
        (Saldo(b), True, 10),
        (Deposito(b, 2.5), True, 12.5),
        (Saque(a, 100), False, "tem na conta 20. faltam 80 para sacar 100"),
        (Transferencia(b, a, 13), False, "tem na conta 12.5. faltam 0.5 para sacar 13"),
        (Deposito(a, -5), False, "invalid_amount: "),
        (Deposito(a, True), False, "invalid_amount: "),
        (Deposito(a, "20"), False, "invalid_amount: "),
        (Deposito(1, 20), False, "invalid_account: "),
        ({"classe": "Deposito", "objeto": {"id_pessoa": a, "valor": 1}}, True, 21),
        ({"a": "b"}, False, "malformed: "),
        ([], False, "malformed: "),
        (os.system, False, "malformed: "),
    ]:
        expect(address, protocol, operation, status, type(u"")(msg) if isinstance(msg, str) else msg)


def write():
    for protocol in PROTOCOLS:
        for operation in [Saldo("1"), Deposito("1", 20), Saque("1", 20), Transferencia("1", "2", 20)]:
            text = binascii.hexlify(pickle.dumps(operation, protocol)).decode("ascii")
            print("%s %d\t%s" % (type(operation).__name__, protocol, text))


if sys.argv[1] == "write":
    write()
else:
    for p in PROTOCOLS:
        session((sys.argv[2], int(sys.argv[1])), p)
    print("done")
