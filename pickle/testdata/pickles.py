"""Pickles for the tests, and reads theirs. Runs on Python 2.7 and 3.

pickles.py write   one line per pickle: name, hex, what was pickled as JSON
pickles.py read    for each line of hex on stdin: what it unpickles to as JSON
"""
import binascii
import decimal
import io
import json
import os
import pickle
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from dominio import Operacao  # noqa: E402

PY2 = sys.version_info[0] == 2
text = type(u"")


def kind_and_text(v):
    """What the Go package calls a scalar: its kind and its text."""
    if v is None:
        return ["none", ""]
    if isinstance(v, bool):
        return ["bool", str(v)]
    if isinstance(v, float):
        return ["float", repr(v)]
    if isinstance(v, decimal.Decimal):
        return ["decimal", str(v)]
    if isinstance(v, text):
        return ["str", v]
    if isinstance(v, bytes):
        return ["str", v.decode("ascii")] if PY2 else ["bytes", binascii.hexlify(v).decode("ascii")]
    return ["int", "%d" % v]


def describe(v):
    """The whole value: kind, text or class, items in order."""
    if isinstance(v, dict):
        return {"kind": "dict", "items": [[k, describe(x)] for k, x in v.items()]}
    if isinstance(v, Operacao.Operacao):
        items = [[k, describe(x)] for k, x in v.__dict__.items()]
        return {"kind": "object", "text": type(v).__name__, "items": items}
    kind, content = kind_and_text(v)
    return {"kind": kind, "text": content}


def values():
    amounts = [0, 1, 70, 255, 256, 300, 65535, 65536, 70000, 2**31 - 1, 2**31, -1, -5, -2**31, -2**31 - 1, 2**40,
               2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64, 10**30, -10**30, 2**127, -2**127, 2**128, 10**600,
               0.0, -0.0, 0.1, 12.5, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"),
               float("nan"), decimal.Decimal("12.34"), decimal.Decimal("1E+3"), decimal.Decimal("NaN"),
               True, False, None, "12.34", u"12.34"]
    ids = ["1", u"1", u"jos\u00e9", u"\u20ac", u"\U0001f600", "", u"", "a\nb\\\"'\r\t\x00\x1a\x7f", u"a\nb\\u0041\r\x00\x1a",
           "it's", 'say "hi"', "x" * 255, "x" * 256, u"\u00e9" * 300, 1, None]
    if not PY2:
        amounts += [b"", b"1", b"\x00\xff\xe9'", b"x" * 300]
        ids += [b"", b"1", b"caf\xc3\xa9"]
    for a in amounts:
        yield Operacao.Deposito("1", a)
        yield Operacao.Saque("1", a)
    for i in ids:
        yield Operacao.Saldo(i)
        yield Operacao.Transferencia(i, i, 20)
        yield {"classe": "Saldo", "objeto": {"id_pessoa": i}}
    shared = decimal.Decimal("1.5")
    both = Operacao.Transferencia("ana", "bia", shared)
    both.valor_original = shared
    yield both
    yield {"classe": "Deposito", "objeto": {"id_pessoa": "1", "valor": 20}}
    yield {"classe": u"Transferencia", "objeto": Operacao.Transferencia("1", "2", 12.5).__dict__}
    yield {}
    yield {"a": {}, "b": None}
    yield Operacao.Saldo.__new__(Operacao.Saldo)
    for many in [decimal.Decimal, lambda n: (u"%d" % n).encode("ascii")]:
        full = Operacao.Deposito.__new__(Operacao.Deposito)  # as many attributes as there may be, of what takes most opcodes
        for n in range(16):
            setattr(full, "attribute%d" % n, many(n))
        yield full


def picklers():
    """Every pickler this Python has, as (name, function of value and protocol)."""
    if PY2:
        import cPickle
        return [("pickle", pickle.dumps), ("cPickle", cPickle.dumps)]

    def with_class(cls, **options):
        def dumps(v, protocol):
            out = io.BytesIO()
            cls(out, protocol, **options).dump(v)
            return out.getvalue()
        return dumps
    return [("c", pickle.dumps), ("py", with_class(pickle._Pickler)),
            ("c-names3", with_class(pickle.Pickler, fix_imports=False)),
            ("py-names3", with_class(pickle._Pickler, fix_imports=False))]


def write(out):
    for name, dumps in picklers():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for n, v in enumerate(values()):
                line = "%s/p%d/%d\t%s\t%s\n" % (name, protocol, n, binascii.hexlify(dumps(v, protocol)).decode("ascii"),
                                                json.dumps(describe(v)))
                out.write(line)


def read(lines, out):
    for line in lines:
        try:
            v = describe(pickle.loads(binascii.unhexlify(line.strip())))
        except Exception as e:
            v = {"kind": "error", "text": type(e).__name__}
        out.write(json.dumps(v) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.stdout)
    else:
        read(sys.stdin, sys.stdout)
