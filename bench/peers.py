"""
What we are measured against: a Postfix of our own, twisted.mail's server, and a relay on aiosmtpd.

The Postfix has its configuration, queue and data in a folder of the benchmark, listens on
loopback only, and leaves the machine's own alone. It is tuned for throughput, as
the people who run it for this purpose do.
"""

import grp
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.program import PYTHON, Program, free_port

_MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/queue/log
maillog_file_prefixes = {folder}
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
myhostname = postfix.example.com
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtpd_data_restrictions = {restriction}
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{sink}
default_process_limit = 100
initial_destination_concurrency = 50
default_destination_concurrency_limit = 50
in_flow_delay = 0
message_size_limit = 0
mailbox_size_limit = 0
alias_maps =
alias_database =
{more}
"""

#: A key and its domain, as ``opendkim`` has them; what it signs is what Postfix sends.
_OPENDKIM: Final = """\
Socket inet:{port}@127.0.0.1
Domain {domain}
Selector {selector}
KeyFile {key}
Mode s
Canonicalization relaxed/relaxed
OversignHeaders From
RequireSafeKeys no
Syslog no
UserID root
PidFile {folder}/opendkim.pid
"""

_SERVICES: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Program):
    """
    A Postfix; only root can start it.

    :param sink: the port that it relays to; ``None``: it puts everything on hold.
    :param more: lines of its main configuration.
    """

    def __init__(self, folder: Path, sink: int | None, more: str = "") -> None:
        self.port = free_port()
        self._config = folder / "etc"
        for each in (self._config, folder / "queue", folder / "data"):
            each.mkdir(parents=True)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid)
        restriction = "" if sink else "check_client_access static:HOLD"
        main = _MAIN.format(folder=folder, sink=sink or 9, restriction=restriction, more=more)
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(_SERVICES.format(port=self.port))
        self._master = folder / "queue/pid/master.pid"
        super().__init__(["postfix", "-c", self._config, "start-fg"], folder / "output")
        self.wait_for(self.port)

    def clean(self) -> None:
        """Drop what lies in its queue."""
        subprocess.run(
            ["postsuper", "-c", str(self._config), "-d", "ALL"], check=True, capture_output=True, timeout=120
        )

    def _ask_to_end(self) -> None:
        # What was started is a script that waits for the master, which ends all the others.
        os.kill(int(self._master.read_text()), signal.SIGTERM)


class Opendkim(Program):
    """
    A milter that signs what Postfix takes, with Debian's package ``opendkim``.

    :ivar settings: what Postfix needs to ask it.
    """

    def __init__(self, folder: Path, domain: str, selector: str, key: Path) -> None:
        port = free_port()
        file = folder / "opendkim.conf"
        file.write_text(_OPENDKIM.format(port=port, folder=folder, domain=domain, selector=selector, key=key))
        self.settings = f"smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = tempfail"
        super().__init__(["opendkim", "-f", "-x", file], folder / "opendkim.log")
        self.wait_for(port)


class Server(Program):
    """One of the servers of :mod:`bench.servers`."""

    def __init__(self, folder: Path, kind: str, *arguments: object) -> None:
        self.port = free_port()
        super().__init__([PYTHON, "-m", "bench.servers", kind, self.port, *arguments], folder / f"{kind}.log")
        self.wait_for(self.port)


def missing_programs() -> Sequence[str]:
    """Return the programs of Postfix that this machine does not have."""
    return [name for name in ("postfix", "postsuper", "smtp-sink", "smtp-source") if not shutil.which(name)]
