"""A service manager in small: it takes sd_notify(3) datagrams, keeps what is stored, starts one service.

Orders come as lines of JSON on standard input, what happens goes out as lines of JSON.
"""
import array
import json
import os
import select
import socket
import sys
import time

NOTIFY = sys.argv[1]
stored = []
passed = []
service = None


def tell(**facts):
    print(json.dumps({"at": time.monotonic_ns() // 1000, **facts}), flush=True)


def same(one, other):
    return os.path.sameopenfile(one, other)


def receive(notify):
    data, ancillary, _, _ = notify.recvmsg(65536, 4096)
    descriptors = array.array("i")
    sender = None
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender = array.array("i", content)[0]
    message = dict(line.split("=", 1) for line in data.decode().split("\n") if line)
    name = message.get("FDNAME")
    if message.get("FDSTORE") == "1":
        for descriptor in descriptors:
            if any(same(descriptor, kept) for _, kept in stored):
                os.close(descriptor)
            else:
                stored.append((name, descriptor))
    if message.get("FDSTOREREMOVE") == "1":
        for each in [each for each in stored if each[0] == name]:
            stored.remove(each)
            os.close(each[1])
    tell(message=message, sender=sender, sent=len(descriptors), stored=[name for name, _ in stored])


def start(order):
    global service
    given = passed + stored
    service = os.fork()
    if service == 0:
        high = [os.dup2(fd, 200 + index) for index, (_, fd) in enumerate(given)]
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index)
        os.closerange(3 + len(given), 4096)
        errors = os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open("/dev/null", os.O_RDWR)
        for standard, fd in ((0, nothing), (1, nothing), (2, errors)):
            os.dup2(fd, standard)
        os.chdir(order["cwd"])
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": NOTIFY,
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in given),
            **order["env"],
        }
        os.closerange(3 + len(given), 4096)
        os.execve(order["args"][0], order["args"], environment)
    tell(started=service)


def listen(order):
    if "path" in order:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(order["path"])
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", order["port"]))
    made.listen(128)
    passed.append((order["name"], made.detach()))
    tell(listens=order["name"])


def end(number):
    os.kill(service, number)
    tell(signalled=number)


def main():
    global service
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    notify.bind("\0" + NOTIFY[1:] if NOTIFY[0] == "@" else NOTIFY)
    tell(listens="notify")
    pending = b""
    while True:
        ready, _, _ = select.select([0, notify], [], [], 0.02)
        if notify in ready:
            receive(notify)
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                order = json.loads(line)
                {"start": start, "listen": listen, "signal": lambda o: end(o["number"])}[order["do"]](order)
        if service:
            gone, status = os.waitpid(service, os.WNOHANG)
            if gone:
                service = None
                tell(ended=status)
    if service:
        os.kill(service, 9)
        os.waitpid(service, 0)


main()
