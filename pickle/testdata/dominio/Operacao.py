"""The classes a legacy client pickles: their names and attributes, nothing else."""


class Operacao(object):
    def __init__(self, id_pessoa):
        self.call_before = False
        self.id_pessoa = id_pessoa
        self.conta = None


class Saldo(Operacao):
    pass


class Deposito(Operacao):
    def __init__(self, id_pessoa, valor):
        Operacao.__init__(self, id_pessoa)
        self.valor_original = None
        self.valor = valor


class Saque(Deposito):
    pass


class Transferencia(Deposito):
    def __init__(self, id_pessoa, id_pessoa_d, valor):
        Deposito.__init__(self, id_pessoa, valor)
        self.id_pessoa_d = id_pessoa_d
        self.conta_d = None
