"""
Ports for servers that cannot choose one themselves.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Below the ports that Linux gives to outgoing connections (``ip_local_port_range``): one of those may be
#: taken between the choice and the server's start.
_FREE = range(10_000, 32_768)


def free_port() -> int:
    """
    Return a port of 127.0.0.1 where nobody listens, and that no other test gets while this process lives.
    """
    folder = Path(tempfile.gettempdir(), "smtprelay-test-ports")
    folder.mkdir(exist_ok=True)
    while True:
        port = random.choice(_FREE)
        # Never closed but by the end of the process: so long the port is ours.
        lock = os.open(folder / str(port), os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
        else:
            return port
