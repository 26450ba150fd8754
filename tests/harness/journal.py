"""A journal in small: it takes datagrams of the native protocol, and says what fields are in them.

Each entry goes out as a line of JSON, a list of [name, value]. It reads fields as systemd's own
journald does: what is not well formed ends it.
"""
import json
import os
import re
import socket
import struct
import sys


def fields(data):
    while data:
        line, end, rest = data.partition(b"\n")
        assert end, f"no line end after {line!r}"
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert len(value) == length and rest[:1] == b"\n", f"{name!r} is not as long as it says"
            rest = rest[1:]
        assert re.fullmatch(b"[A-Z][A-Z0-9_]{0,63}", name), f"{name!r} is no name"
        yield name.decode(), value.decode()
        data = rest


journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
print("[]", flush=True)
while True:
    print(json.dumps(list(fields(journal.recv(1 << 20)))), flush=True)
