"""
A Postfix of our own: its configuration, queue and port are this test's, nothing of the machine's is touched.
"""

import os
import pwd
import shutil
from pathlib import Path

from tests.ports import free_port
from tests.process.program import Program

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/lib
maillog_file = /dev/stdout
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{relay}
alias_maps =
alias_database =
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
pickup    unix  n - n 60    1 pickup
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
smtp      unix  - - n -     - smtp
retry     unix  - - n -     - error
error     unix  - - n -     - error
proxymap  unix  - - n -     - proxymap
showq     unix  n - n -     - showq
anvil     unix  - - n -     1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


def why_not() -> str:
    """Return why there can be no Postfix here, or ``""``."""
    if shutil.which("postfix") is None:
        return "POSTFIX IS MISSING (apt-get install postfix)"
    if os.getuid() != 0:
        return "POSTFIX WAS NOT TRIED: only root can start it"
    return ""


class Postfix:
    """
    A running Postfix that hands all mail on to a relay.

    :ivar port: where it takes mail.
    """

    def __init__(self, program: Program, folder: Path, port: int) -> None:
        self.program = program
        self.port = port
        self._folder = folder

    @classmethod
    async def start(cls, folder: Path, relay: int, more: str = "") -> "Postfix":
        """Start it in ``folder``, relaying to the port ``relay`` of this machine; ``more``: of main.cf."""
        # Its own user must come through.
        folder.chmod(0o755)
        place = folder / "postfix"
        for each in (place, place / "queue", place / "lib"):
            each.mkdir()
        user = pwd.getpwnam("postfix")
        os.chown(place / "lib", user.pw_uid, user.pw_gid)
        port = free_port()
        (place / "main.cf").write_text(MAIN.format(folder=place, relay=relay) + more)
        (place / "master.cf").write_text(MASTER.format(port=port))
        program = Program.start(["/usr/sbin/postfix", "-c", str(place), "start-fg"], folder)
        postfix = cls(program, folder, port)
        await program.says("daemon started")
        return postfix

    async def stop(self) -> None:
        """End it and all its processes."""
        stop = Program.start(["/usr/sbin/postfix", "-c", str(self._folder / "postfix"), "stop"], self._folder)
        await stop.ends()
        await self.program.ends()
