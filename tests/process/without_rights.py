"""
Runs a module without any capability: ``python -m tests.process.without_rights MODULE ARGUMENTS…``.

Root without them is bound by the modes of files and by privileged ports as everybody is, and can
still read the Python that lies in its own home. Who is not root has none to lose.
"""

import ctypes
import os
import runpy
import struct
import sys

#: Of ``prctl``, see <linux/prctl.h>.
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24

#: Of ``capset``, see <linux/capability.h>: version 3, this thread, and three sets of 64 bits.
HEADER = struct.pack("=Ii", 0x20080522, 0)
NOTHING = bytes(24)


def drop_all() -> None:
    """Give up all capabilities, and the bounding set: what is executed from now on gets nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        capability += 1
    if libc.capset(HEADER, NOTHING) != 0:
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    if os.getuid() == 0:
        drop_all()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
