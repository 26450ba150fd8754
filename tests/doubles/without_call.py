"""without_call.py ERRNO NUMBER... -- COMMAND...: runs COMMAND without some system calls, by seccomp(2)."""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

end = sys.argv.index("--")
errno, *numbers = map(int, sys.argv[1:end])
program = [(LOAD, 0, 0, 0)]
for number in numbers:
    program += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno)]
program.append((RETURN, 0, 0, ALLOW))
code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
buffer = ctypes.create_string_buffer(code)
header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
holder = ctypes.create_string_buffer(header)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(holder), 0, 0
):
    sys.exit(f"no filter: errno {ctypes.get_errno()}")
os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
