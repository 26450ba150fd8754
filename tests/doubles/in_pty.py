"""Runs a program in a terminal of its own.

usage: in_pty.py KEYS FRAMES PROGRAM...

When the program has drawn FRAMES screens, KEYS are typed. At the end what it wrote goes to standard
output, and its exit status is this program's; 99 if the terminal was not left as it was.
"""
import fcntl, os, pty, struct, sys, termios, time

keys, frames, program = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    os.close(master)
    os.execvp(program[0], program)
seen = b""
typed = done = False
os.set_blocking(master, False)
while True:
    if not done:
        done, status = os.waitpid(child, os.WNOHANG)
    try:
        seen += os.read(master, 65536)
    except BlockingIOError:
        if done:
            break
        time.sleep(0.01)
    if not typed and seen.count(b"supervisor") >= frames:
        typed = True
        os.write(master, keys)
after = termios.tcgetattr(slave)
sys.stdout.buffer.write(seen)
sys.stdout.buffer.flush()
sys.exit(99 if before != after else os.waitstatus_to_exitcode(status))
