"""name_server.py: a name server on port 53 of 127.0.0.1 and ::1, by UDP and by TCP, for names that end in .test.

small.test is 127.0.0.1 and ::1, changing.test is another address each time that it is asked for, first.test and
second.test are one of eight each time, large.test has so many addresses that UDP has no room for them: there
the answer is cut short, and a client asks again by TCP. Every other name does not exist.
"""

import itertools
import random
import socket
import struct
import threading

A, AAAA = 1, 28
TIMES = itertools.count()
CUT = 0x0200


def answer(query, limit):
    end = query.index(b"\0", 12)
    labels, at = [], 12
    while at < end:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind = struct.unpack("!H", query[end + 1 : end + 3])[0]
    known = {
        ("changing.test", A): [bytes([127, 0, 2, 1 + next(TIMES) % 250])],
        ("first.test", A): [bytes([127, 0, 3, 1 + random.randrange(8)])],
        ("second.test", A): [bytes([127, 0, 4, 1 + random.randrange(8)])],
        ("small.test", A): [bytes([127, 0, 0, 1])],
        ("small.test", AAAA): [bytes(15) + b"\1"],
        ("large.test", A): [bytes([127, 0, 1, index]) for index in range(1, 101)],
    }
    name = ".".join(labels)
    exists = any(name == each for each, _ in known)
    records = known.get((name, kind), [])
    body = b"".join(
        struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(each)) + each for each in records
    )
    flags, question = 0x8180 | (0 if exists else 3), query[12 : end + 5]
    if 12 + len(question) + len(body) > limit:
        flags, records, body = flags | CUT, [], b""
    return query[:2] + struct.pack("!5H", flags, 1, len(records), 0, 0) + question + body


def by_udp(server):
    while True:
        query, client = server.recvfrom(4096)
        server.sendto(answer(query, 512), client)


def read(connection, length):
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def by_tcp(connection):
    with connection:
        try:
            while True:
                reply = answer(read(connection, struct.unpack("!H", read(connection, 2))[0]), 65535)
                connection.sendall(struct.pack("!H", len(reply)) + reply)
        except (EOFError, OSError):
            pass


def accept(server):
    while True:
        threading.Thread(target=by_tcp, args=(server.accept()[0],), daemon=True).start()


for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((host, 53))
    tcp = socket.create_server((host, 53), family=family)
    threading.Thread(target=by_udp, args=(udp,), daemon=True).start()
    threading.Thread(target=accept, args=(tcp,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
