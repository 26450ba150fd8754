"""Listens on a Unix socket, tells each client who it is to the kernel, and repeats what it says.

Usage: unix_server.py PATH MODE [hold]; with "hold" it accepts nobody until its standard input ends.
"""

import json
import os
import socket
import struct
import sys
import threading

SO_PEERGROUPS = 59

path, mode = sys.argv[1], int(sys.argv[2], 8)
holds = sys.argv[3:] == ["hold"]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, mode)
server.listen(0 if holds else 64)
print("ready", flush=True)
if holds:
    sys.stdin.read()


def serve(client):
    with client:
        pid, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        groups = len(client.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 256)) // 4
        told = json.dumps({"pid": pid, "uid": uid, "gid": gid, "groups": groups}) + "\n"
        print(told, end="", flush=True)
        try:
            client.sendall(told.encode())
            while data := client.recv(4096):
                client.sendall(data)
        except OSError:
            pass


while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
