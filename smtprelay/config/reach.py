"""
What the settings point to: secrets, files, the spool's folder, and what Twisted can listen on.

These look at the machine, so they hold for the machine and the user that the relay
runs as; :func:`smtprelay.config.load` can leave them out.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from smtprelay.config import endpoint
from smtprelay.config.paths import FilePath
from smtprelay.config.providers import Acs
from smtprelay.config.secret import Secret, complaint
from smtprelay.config.tree import spelled
from smtprelay.config.view import Complaint, View, walk


def check_secrets(view: View) -> Iterator[Complaint]:
    """Each secret must be there; one in the file itself is a warning."""
    for path, value in walk(view.config):
        if not isinstance(value, Secret):
            continue
        where = spelled(path)
        if value.place == "inline":
            text = f"{where}: the secret stands in the file itself; better {{file: …}} or {{env: …}}"
            yield Complaint(path, text, "CFG-INLINE-SECRET", "warning")
        try:
            value.reveal()
        except ValueError as error:
            yield Complaint(path, f"{where}: {error}", "CFG-SECRET")


def check_connection_strings(view: View) -> Iterator[Complaint]:
    """A connection string has the parts that Azure gives it, and does not lead over clear text."""
    for name, provider in view.config.providers.items():
        if not isinstance(provider, Acs) or not provider.connection_string:
            continue
        path = ("providers", name, "connection_string")
        try:
            text = provider.connection_string.reveal()
        except ValueError:
            continue  # check_secrets says it
        pairs = (part.partition("=") for part in text.strip().split(";"))
        parts = {key.strip().lower(): value.strip() for key, _, value in pairs}
        if not parts.get("endpoint") or not parts.get("accesskey"):
            yield Complaint(path, "expected endpoint=https://…;accesskey=…", "CFG-SECRET")
        elif endpoint.is_plain_remote(parts["endpoint"]):
            yield Complaint(path, "http:// is for loopback only: use https://", "CFG-CLEAR-TEXT")


def check_files(view: View) -> Iterator[Complaint]:
    """Certificates and keys must be readable."""
    files: list[tuple[tuple[str | int, ...], FilePath | None]] = []
    for n, listener in enumerate(view.config.listeners):
        tls = listener.tls
        if tls.mode != "off":
            chosen = {"certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca}
            files += [(("listeners", n, "tls", key), path) for key, path in chosen.items()]
    for name, provider in view.config.providers.items():
        files.append((("providers", name, "ca"), getattr(provider, "ca", None)))
    for path, file in files:
        if file is None:
            continue
        try:
            with Path(file).open("rb") as content:
                content.read(1)
        except OSError as error:
            yield Complaint(path, f"{path[-1]}: file {complaint(Path(file), error)}", "CFG-FILE")


def check_spool(view: View) -> Iterator[Complaint]:
    """The spool's folder must be writable, or possible to make."""
    spool = view.config.spool
    if spool.engine != "sqlite":
        return
    folder = Path(spool.path)
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            yield Complaint(("spool", "path"), f"{folder} is not a folder", "CFG-SPOOL")
            return
        if os.access(folder, os.W_OK | os.X_OK):
            return
        denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        denied = error
    yield Complaint(("spool", "path"), f"cannot write in {complaint(folder, denied)}", "CFG-SPOOL")


def check_endpoints(view: View) -> Iterator[Complaint]:
    """Twisted must know what an endpoint means; some kinds read certificates for that."""
    for section in ("listeners", "http"):
        for n, place in enumerate(getattr(view.config, section)):
            reason = endpoint.complaint(place.endpoint)
            if reason:
                text = f'"{place.endpoint}" is no endpoint: {reason}'
                yield Complaint((section, n, "endpoint"), text, "CFG-ENDPOINT")


CHECKS: Final = (check_secrets, check_connection_strings, check_files, check_spool, check_endpoints)
