"""A server in the shape of the legacy bank's, for the benchmark beside it: a thread for each connection, a queue of five,
an ack, one recv, one answer, nothing on disk. It prints its port and serves until its standard input ends.
"""
import os
import pickle
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "pickle", "testdata"))

balances, lock = {}, threading.Lock()


def serve(conn):
    with conn:
        conn.sendall(pickle.dumps(True, 2))
        operation = pickle.loads(conn.recv(1024))
        with lock:
            balances[operation.id_pessoa] = balances.get(operation.id_pessoa, 0) + operation.valor
            reply = {"status": True, "msg": balances[operation.id_pessoa]}
        conn.sendall(pickle.dumps(reply, 2))


def accept(listener):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(5)
print(listener.getsockname()[1], flush=True)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
sys.stdin.read()
