"""
The files and folders that settings name: they must exist, and be readable or writable.

This is valid for this machine and the user that the relay runs as.
"""

import errno
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import fields

from smtprelay.config import endpoint
from smtprelay.config.checks import CheckedConfig, walk
from smtprelay.config.listeners import TlsSettings
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint
from smtprelay.settings.complaint import Path as Place
from smtprelay.settings.secret import Secret, complaint
from smtprelay.spool.engines.filesystem import file_system_of

#: File systems of the kernel, in which no files can be created.
_KERNELS: Final = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf"})

_PAIR: Final = ("certificate", "key")


def check_certificates(view: CheckedConfig) -> Iterator[Complaint]:
    """Certificates and keys must be readable, and match."""
    for n, listener in enumerate(view.config.listeners):
        tls, path = listener.tls, ("listeners", n, "tls")
        if not tls.sources:
            continue
        holders = {path: tls} | {(*path, "certificates", m): each for m, each in enumerate(tls.certificates)}
        given = {(*at, name): getattr(holder, name) for at, holder in holders.items() for name in _PAIR}
        secrets = [given.pop(at) for at, value in list(given.items()) if isinstance(value, Secret)]
        unreadable = [each for at, file in given.items() for each in _readable(file, at)]
        # What cannot be read is reported as every secret; a service is not asked.
        if unreadable or all(secret.text() for secret in secrets):
            yield from unreadable or _usable(tls, path)


def check_authorities(view: CheckedConfig) -> Iterator[Complaint]:
    """A file of certificates to trust must contain some."""
    named = ((path, name, value) for path, value in walk(view.config) for name in ("ca", "client_ca"))
    for place, name, value in named:
        path, ca = (*place, name), getattr(value, name, None)
        if ca is None:
            continue
        unreadable = list(_readable(ca, path))
        yield from unreadable
        if not unreadable:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
            except ssl.SSLError:
                yield Complaint(path, f"{name}: file {ca}: it has no certificate in PEM form", "CFG-FILE")


def check_client_certificates(view: CheckedConfig) -> Iterator[Complaint]:
    """The certificate that a server is shown must be readable, valid, and that of its key."""
    keys = ("client_certificate", "client_key")
    for path, value in walk(view.config):
        certificate, key = (getattr(value, each, None) for each in keys)
        if key and not certificate:
            text = '"client_certificate" is missing: client_key is its key'
            yield Complaint((*path, "client_key"), text, "CFG-MISSING")
        if certificate:
            unreadable = [each for name in keys for each in _readable(getattr(value, name), (*path, name))]
            yield from unreadable or _showable(certificate, key or certificate, (*path, keys[0]))


def check_folders(view: CheckedConfig) -> Iterator[Complaint]:
    """The folders of the spool and of providers must be writable, or can be created."""
    config = view.config
    if config.spool is not None and config.spool.engine == "sqlite":
        yield from _can_be_made(config.spool.path, ("spool", "path"), "CFG-SPOOL")
    for name, provider in config.providers.items():
        folders = [each.name for each in fields(type(provider)) if each.type == values.FolderPath]
        for key in folders:
            yield from _can_be_made(getattr(provider, key), ("providers", name, key), "CFG-FILE")


def check_log(view: CheckedConfig) -> Iterator[Complaint]:
    """The log file must be writable, or can be created."""
    file, path = view.config.logging.file, ("logging", "file")
    if file is None:
        return
    if Path(file).is_dir():
        yield Complaint(path, f"{file} is a folder: name a file in it", "CFG-FILE")
    elif Path(file).exists() and not os.access(file, os.W_OK):
        denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
        yield Complaint(path, f"cannot write {complaint(Path(file), denied)}", "CFG-FILE")
    elif not Path(file).exists():
        yield from _writable(Path(file).parent, path, "CFG-FILE")


def check_sockets(view: CheckedConfig) -> Iterator[Complaint]:
    """
    The path of a UNIX socket must not be too long, and its folder must exist.

    The default of ``control_socket`` is checked at the start.
    """
    config = view.config
    sockets: list[tuple[Place, str]] = (
        [(("control_socket",), config.control_socket)] if "control_socket" in view.root else []
    )
    for section in ("listeners", "http"):
        for n, place in enumerate(getattr(config, section)):
            sockets.append(((section, n, "endpoint"), endpoint.socket_path(place.endpoint)))
    for path, socket in ((path, socket) for path, socket in sockets if socket):
        length = len(os.fsencode(socket))
        if length > endpoint.LONGEST_SOCKET:
            most = endpoint.LONGEST_SOCKET
            text = f"the path of the socket {socket} has {length} bytes, the system allows {most}"
            more = ": set control_socket to a shorter one" if path == ("control_socket",) else ""
            yield Complaint(path, text + more, "CFG-SOCKET")
        # The spool's folder is created at the start.
        elif Path(socket).exists() and not Path(socket).is_socket():
            what = "a folder: name a file in it" if Path(socket).is_dir() else "a file, not a socket"
            yield Complaint(path, f"{socket} is {what}", "CFG-SOCKET")
        elif config.spool is None or Path(socket).parent != Path(config.spool.path):
            yield from _writable(Path(socket).parent, path, "CFG-SOCKET")


CHECKS: Final = (
    check_certificates,
    check_authorities,
    check_client_certificates,
    check_folders,
    check_log,
    check_sockets,
)


def _readable(file: str | None, path: Place) -> Iterator[Complaint]:
    if file is None:
        return
    try:
        with Path(file).open("rb") as content:
            content.read(1)
    except OSError as error:
        yield Complaint(path, f"{path[-1]}: file {complaint(Path(file), error)}", "CFG-FILE")


def _usable(tls: TlsSettings, path: Place) -> Iterator[Complaint]:
    # Slow to import.
    from twisted.internet.task import Clock  # noqa: PLC0415

    from smtprelay.net.certificate import CertificateError  # noqa: PLC0415
    from smtprelay.net.tls_server import ServerContext  # noqa: PLC0415

    silent = lambda *_, **__: None  # noqa: E731
    try:
        # What is wrong with client_ca is told elsewhere.
        ServerContext(tls.sources, Clock(), silent, profile=tls.profile, ciphers=tls.ciphers or "")
    except CertificateError as error:
        yield Complaint(path, f"tls: {error}", "CFG-TLS")


def _showable(file: str, key: str, path: Place) -> Iterator[Complaint]:
    # Slow to import.
    from OpenSSL.SSL import TLS_CLIENT_METHOD, Context  # noqa: PLC0415

    from smtprelay.net.certificate import CertificateError, certificate_end, use_certificate  # noqa: PLC0415

    certificate = Path(file)
    try:
        use_certificate(Context(TLS_CLIENT_METHOD), certificate, Path(key))
        end = certificate_end(certificate)
    except CertificateError as error:
        yield Complaint(path, f"{path[-1]}: {error}", "CFG-FILE")
    else:
        if end <= datetime.now(UTC):
            text = f"{path[-1]}: {certificate}: the certificate expired on {end:%Y-%m-%d}"
            yield Complaint(path, text, "CFG-FILE")


def _can_be_made(path: str, place: Place, code: str) -> Iterator[Complaint]:
    folder = Path(path)
    try:
        while not folder.exists():
            folder = folder.parent
    except OSError as error:
        yield Complaint(place, f"cannot write in {complaint(folder, error)}", code)
        return
    yield from _writable(folder, place, code)


def _writable(folder: Path, path: Place, code: str) -> Iterator[Complaint]:
    try:
        if folder.is_dir():
            kind = file_system_of(str(folder))
            if kind in _KERNELS:
                yield Complaint(
                    path, f"{folder} belongs to the kernel ({kind}): no file can be created there", code
                )
                return
            if os.access(folder, os.W_OK | os.X_OK):
                return
            number = errno.EACCES
        else:
            number = errno.ENOTDIR if folder.exists() else errno.ENOENT
        denied = OSError(number, os.strerror(number))
    except OSError as error:
        denied = error
    yield Complaint(path, f"cannot write in {complaint(folder, denied)}", code)
