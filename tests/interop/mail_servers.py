"""
Exim and OpenSMTPD beside the Postfix of this machine: Debian's packages of them exclude each other.

So they are not installed: they are unpacked, and run with the users, the folders and the libraries that they
want in a mount namespace of their own, where nothing of the machine's is touched.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.ports import free_port
from tests.process.program import Program, eventually

#: Refused for good, and for now; anybody else is taken.
NOBODY, LATER = "no@example.com", "later@example.com"

USERS = {"Debian-exim": 990, "opensmtpd": 991, "opensmtpq": 992}

#: What both get: their users, and empty folders where they expect theirs.
NAMESPACE = """\
set -e
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
mount -t tmpfs none /var/spool
mount -t tmpfs none /var/lib
mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd /var/spool/exim
chmod 711 /var/spool/smtpd
chown Debian-exim:Debian-exim /var/spool/exim
export LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu
exec {command}
"""

EXIM = """\
primary_hostname = exim.test
spool_directory = /var/spool/exim
log_file_path = /var/spool/exim/%slog
pid_file_path =
tls_advertise_hosts =
dsn_advertise_hosts = *
keep_environment =
smtp_accept_queue_per_connection = 0
deliver_drop_privilege = true
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = accept
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
begin acl
acl_rcpt:
  deny message = 5.1.1 nobody
       recipients = no@example.com
  defer message = 4.7.1 greylisted
       recipients = later@example.com
  accept
begin routers
out:
  driver = manualroute
  transport = remote
  route_list = * 127.0.0.1
  self = send
begin transports
remote:
  driver = smtp
  port = {relay}
  allow_localhost = true
  hosts_avoid_tls = *
"""

OPENSMTPD = """\
filter "greylisting" phase rcpt-to match rcpt-to {{ "later@example.com" }} reject "451 4.7.1 greylisted"
listen on 127.0.0.1 port {port} hostname opensmtpd.test filter "greylisting"
action "out" relay host "smtp://127.0.0.1:{relay}"
match from any for rcpt-to {{ "no@example.com" }} reject
match from any for any action "out"
"""

#: By the name of the package: its configuration and its command.
SERVERS = {
    "exim4-daemon-light": (EXIM, "{root}/usr/sbin/exim4 -C {folder}/conf -bdf"),
    "opensmtpd": (OPENSMTPD, "{root}/usr/sbin/smtpd -d -f {folder}/conf"),
}


def why_not() -> str:
    """Return why there can be none of them here, or ``""``."""
    missing = [each for each in ("apt-get", "dpkg", "unshare") if shutil.which(each) is None]
    if missing:
        return f"MAIL SERVERS WERE NOT TRIED: {missing[0]} is missing"
    return "" if os.getuid() == 0 else "MAIL SERVERS WERE NOT TRIED: only root can start them"


def unpacked(package: str) -> Path:
    """Return the folder with a package and its libraries; they are fetched once."""
    root = Path(tempfile.gettempdir(), f"smtprelay-interop-{package}")
    if not root.exists():
        with tempfile.TemporaryDirectory() as folder:
            _fetch(folder, package)
            [control] = [_run(folder, "dpkg", "-f", str(each), "Depends") for each in Path(folder).iterdir()]
            _fetch(folder, *re.findall(r"(?:^|, )(lib(?!c6)[\w.+-]+)", control))
            for each in Path(folder).glob("*.deb"):
                _run(folder, "dpkg", "-x", str(each), f"{folder}/root")
            shutil.copytree(f"{folder}/root", root, symlinks=True)
    return root


def _fetch(folder: str, *packages: str) -> None:
    _run(folder, "apt-get", "download", "-qq", *packages)


def _run(folder: str, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


class MailServer:
    """
    A running server that hands all mail on, but takes none for :data:`NOBODY` and :data:`LATER`.

    :ivar port: where it takes mail.
    """

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    @classmethod
    async def start(cls, package: str, folder: Path, relay: int) -> "MailServer":
        """Start it in ``folder``, relaying to the port ``relay`` of this machine."""
        folder.chmod(0o755)
        port, root = free_port(), unpacked(package)
        conf, command = SERVERS[package]
        (folder / "conf").write_text(conf.format(port=port, relay=relay))
        users = "".join(
            f"{name}:x:{n}:{n}::/var/lib/opensmtpd/empty:/bin/false\n" for name, n in USERS.items()
        )
        (folder / "passwd").write_text(Path("/etc/passwd").read_text() + users)
        groups = "".join(f"{name}:x:{n}:\n" for name, n in USERS.items())
        (folder / "group").write_text(Path("/etc/group").read_text() + groups)
        script = folder / "start.sh"
        command = command.format(root=root, folder=folder)
        script.write_text(NAMESPACE.format(root=root, folder=folder, command=command))
        program = Program.start([shutil.which("unshare") or "", "-m", "sh", str(script)], folder)
        server = cls(program, port)
        await eventually(server.is_there, f"{package} at its port")
        return server

    def is_there(self) -> bool:
        """Tell whether it listens."""
        listening = Path("/proc/net/tcp").read_text()
        if self.program.status is not None:
            raise AssertionError(f"it has ended: {self.program.out!r} {self.program.err!r}")
        return f"0100007F:{self.port:04X} 00000000:0000 0A" in listening

    async def stop(self) -> None:
        """End it."""
        await self.program.stop()
