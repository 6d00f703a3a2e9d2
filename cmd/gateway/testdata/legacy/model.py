"""The legacy bank's rules in plain Python, the pickles of its clients, and what the gateway's replies say in Python.

model.py DECIMALS reads a line of JSON for each thing to do, and writes one for it:

["make", [[PROTOCOL, EXPRESSION, PREFIX], ...]]   the message that a client sends for each, in the pieces that it is written in
["play", [PIECE, ...], REPLY]                     what the old bank answers, what the reply says, how the two differ
["yield"]                                         credits a tenth to every positive balance
["restart"]                                       forgets what the old bank had in memory, which was all

Bytes are in hex. An answer is written "done MSG", with the repr of msg; "refused TEXT"; or "fails EXCEPTION", for one in the
server, after which no reply comes. The name of a difference is that of its row in PROTOCOL.md: "same" when there is none,
"" when it is not one of numbers, "wrong" when the reply is not what the gateway's own arithmetic would have it be.
"""
import json
import os
import pickle
import re
import sys
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from fractions import Fraction  # noqa: F401  for expressions

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "..", "pickle", "testdata"))
from dominio.Operacao import Deposito, Saldo, Saque, Transferencia  # noqa: E402

getcontext().prec = 60
RECEIVED = 1024  # bytes that the old server took, once
GREATEST = 2**53 - 1  # minor units


class Old:
    """The old rules. What a balance is, Python says: it begins as the int 0 and becomes what is added to it."""

    def __init__(self, book, tell=lambda number: number):
        self.book, self.tell = book, tell

    def answer(self, op):
        kind, payer = type(op).__name__, op.id_pessoa
        named = [payer, op.id_pessoa_d] if kind == "Transferencia" else [payer]
        if not all(isinstance(name, str) for name in named):
            return "refused"  # in words that nobody has kept
        for name in named:
            self.book.setdefault(name, 0)
        if kind == "Saldo":
            return "done %r" % self.tell(self.book[payer])
        if kind == "Deposito":
            self.book[payer] = self.book[payer] + op.valor
            return "done %r" % self.tell(self.book[payer])
        has = self.book[payer]
        if op.valor > has:
            return "refused tem na conta {}. faltam {} para sacar {}".format(
                self.tell(has), self.tell(op.valor - has), self.tell(op.valor))
        self.book[payer] = has - op.valor
        if kind == "Transferencia":
            self.book[op.id_pessoa_d] = self.book[op.id_pessoa_d] + op.valor
        return "done None"


class Exact:
    """The gateway's arithmetic, as PROTOCOL.md has it: decimal, to the minor unit, and told as an int when it is whole, else
    as the nearest float."""

    def __init__(self, decimals):
        self.unit = Decimal(1).scaleb(-decimals)
        self.form = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,%d})?" % decimals if decimals else r"0|[1-9][0-9]*")
        self.greatest = GREATEST * self.unit
        self.book = {}

    def amount(self, number):
        """The amount that a number stands for, or None."""
        if type(number) not in (int, float, Decimal):
            return None
        if type(number) is Decimal and not self.form.fullmatch(str(number)):
            return None
        n = Decimal(repr(number) if isinstance(number, float) else number)
        return n if n.is_finite() and 0 < n <= self.greatest and n == n.quantize(self.unit) else None

    def answer(self, op):
        """The answer; None for an operation that cannot be, "ceiling" when a balance would pass the greatest."""
        kind, payer = type(op).__name__, op.id_pessoa
        payee = op.id_pessoa_d if kind == "Transferencia" else payer
        amount = Decimal(0) if kind == "Saldo" else self.amount(getattr(op, "valor", None))
        if amount is None or not all(is_account(name) for name in (payer, payee)):
            return None
        has = self.book.get(payer, Decimal(0))
        if kind in ("Saque", "Transferencia"):
            if amount > has:
                return "refused tem na conta {}. faltam {} para sacar {}".format(told(has), told(amount - has), told(amount))
            if payer != payee and self.book.get(payee, 0) + amount > self.greatest:
                return "ceiling"
            self.book[payer] = has - amount
            if kind == "Transferencia":
                self.book[payee] = self.book.get(payee, Decimal(0)) + amount
            return "done None"
        if has + amount > self.greatest:
            return "ceiling"
        self.book[payer] = has + amount
        return "done %r" % told(self.book[payer])

    def credit(self):
        """Credits a tenth to all, or to nobody when a balance would pass the greatest, and tells which."""
        credited = {name: has + (has / 10).quantize(self.unit, ROUND_HALF_EVEN) for name, has in self.book.items()}
        if max(credited.values(), default=0) > self.greatest:
            return False
        self.book = credited
        return True


def is_account(name):
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", name) is not None


def told(n):
    return int(n) if n == n.to_integral_value() else float(n)


def whole(n):
    return int(n) if isinstance(n, float) and n.is_integer() else n


class Model:
    """Both books, of which the old one is brought back to the exact one where the two would part for good."""

    def __init__(self, decimals):
        self.old, self.exact = {}, Exact(decimals)
        self.yielded, self.lost = set(), set()  # accounts that have not been asked for since
        self.paid = True  # the last yield

    def play(self, pieces, reply):
        here = described(pickle.loads(reply))
        before, op = dict(self.old), None
        try:
            op = pickle.loads(pieces[0][:RECEIVED])
            old = Old(self.old).answer(op)
        except Exception as e:
            old = "fails " + type(e).__name__
        exact = None
        if hasattr(op, "id_pessoa") and not here.startswith("refused malformed: "):
            exact = self.exact.answer(op)
        name = self.difference(op, before, old, exact, here)
        self.settle(op, before, old, here)
        return [old, here, name]

    def difference(self, op, before, old, exact, here):
        if exact == "ceiling":
            return "ceiling" if here.startswith("refused overflow: ") else "wrong"
        if exact is None:
            return ""
        if here != exact:
            return "wrong"
        if here == old:
            return "same"
        numbers = [before.get(name) for name in names(op)] + [getattr(op, "valor", None)]
        if any(isinstance(n, Decimal) for n in numbers):
            return "decimal"
        if here == Old(dict(before), whole).answer(op):
            return "whole-number"
        if self.lost & names(op):
            return "memory"
        if self.yielded & names(op):
            return "yield-rounding" if self.paid else "yield-ceiling"
        return "float-drift"

    def settle(self, op, before, old, here):
        if here.startswith("refused") and not old.startswith("refused"):
            self.old = before
        for name in names(op) & set(self.exact.book):
            n = self.exact.book[name]
            parted = name in self.yielded or old.split()[0] != here.split()[0]
            if parted or abs(Decimal(self.old.get(name, 0)) - n) > self.exact.unit / 4:
                self.old[name] = told(n)
        self.yielded -= names(op)
        self.lost -= names(op)

    def credit(self):
        for name, has in self.old.items():
            if has > 0:
                self.old[name] = has + has / 10
                self.yielded.add(name)
        self.paid = self.exact.credit()

    def restart(self):
        self.lost = set(self.old)
        self.old = {}


def names(op):
    return {n for n in (getattr(op, "id_pessoa", None), getattr(op, "id_pessoa_d", None)) if isinstance(n, str)}


def described(reply):
    if type(reply) is not dict or sorted(reply) != ["msg", "status"] or type(reply["status"]) is not bool:
        return "fails as a reply: %r" % (reply,)
    if reply["status"]:
        return "done %r" % (reply["msg"],)
    return "refused " + reply["msg"] if isinstance(reply["msg"], str) else "fails as a refusal: %r" % (reply,)


class Called:
    """A pickle that has whoever reads it call something."""

    def __init__(self, what, *args):
        self.what, self.args = what, args

    def __reduce__(self):
        return self.what, self.args


def with_attributes(op, **attributes):
    op.__dict__.update(attributes)
    return op


def without(op, name):
    del op.__dict__[name]
    return op


def old_style(name, id_pessoa):
    """What Python 2 pickles of an instance whose class does not derive from object."""
    return ("(idominio.Operacao\n%s\np0\n(dp1\nS'id_pessoa'\np2\nS'%s'\np3\nsb." % (name, id_pessoa)).encode()


def in_two(message):
    return [message[:20], message[20:]]


def make(protocol, expression, prefix):
    scope = dict(globals(), ana=prefix + "ana", bia=prefix + "bia", dumps=lambda op: pickle.dumps(op, protocol))
    message = eval(expression, scope)
    if isinstance(message, list):
        return [piece.hex() for piece in message]
    return [(message if isinstance(message, bytes) else pickle.dumps(message, protocol)).hex()]


def main():
    decimals = int(sys.argv[1])
    model = Model(decimals)
    for line in sys.stdin:
        what, *rest = json.loads(line)
        answer = None
        if what == "make":
            answer = [make(*each) for each in rest[0]]
        elif what == "play":
            answer = model.play([bytes.fromhex(piece) for piece in rest[0]], bytes.fromhex(rest[1]))
        elif what == "yield":
            model.credit()
        elif what == "restart":
            model.restart()
        print(json.dumps(answer), flush=True)


main()
