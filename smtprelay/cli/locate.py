"""
Finds the relay that a command is meant for: its control socket, and its spool.

Reading the configuration takes longer than asking the relay. So if no relay is named, the socket of this
machine's own relay is looked for first, and else the one that the configuration writes out. In a container a
relay that was started with ``-c`` or ``--set`` is found by the command line of process 1: the relay itself,
or an init program that starts it.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import CONFIG, PERMISSION, USAGE, CliError
from smtprelay.cli.options import CliSettings
from smtprelay.cli.text import text_of
from smtprelay.model.network import host_and_port

if TYPE_CHECKING:
    from smtprelay.config import Config
    from smtprelay.spool.location import SpoolLocation

#: Where packages and container images put the spool and the socket.
FOLDERS: Final = ("/var/lib/smtprelay", "/run/smtprelay")

#: A configuration in the working folder is meant before the machine's.
HERE: Final = "smtprelay.yaml"

#: The server where there is no configuration.
DEMO: Final = "127.0.0.1:2525"

#: Bytes of a configuration in which it is looked for the socket alone.
_SMALL: Final = 1 << 16


def client(settings: CliSettings, environ: Mapping[str, str], timeout: float = 30.0) -> ApiClient:
    """
    Return the client of the relay that ``settings`` mean.

    Raises :class:`CliError` (78) if the socket is only in the configuration, and that is wrong.
    """
    settings = settings_in_container(settings)
    words = text_of(settings.token_file, "--token-file").split() if settings.token_file else [""]
    if len(words) != 1:
        raise CliError(USAGE, f"--token-file {settings.token_file}: expected one word, the token")
    return ApiClient(settings.endpoint or _socket(settings, environ), words[0], timeout)


def location(settings: CliSettings, environ: Mapping[str, str]) -> "SpoolLocation | None":
    """
    Return where the relay's spool is, or ``None`` if it is neither in a folder here nor in a database.

    ``None`` too for an endpoint without a configuration: the spool on this machine may be another relay's.
    Raises :class:`CliError` if the configuration is wrong, or the database's driver or URL is missing.
    """
    settings = settings_in_container(settings)
    if settings.endpoint and not (settings.config and ApiClient(settings.endpoint).local):
        return None
    spool = place(settings, environ).spool
    if spool is None or spool.engine == "memory":
        return None
    from smtprelay.spool.location import DriverMissing, SqliteLocation, in_database  # noqa: PLC0415 -- slow to import

    if spool.engine == "sqlite":
        return SqliteLocation(Path(spool.path))
    assert spool.url is not None
    try:
        spool.url.reveal()
        return in_database(spool.url.reveal, spool.lease)
    except DriverMissing as error:
        raise CliError(CONFIG, str(error)) from error
    except ValueError as error:
        forbidden = isinstance(error.__cause__, PermissionError)
        raise CliError(PERMISSION if forbidden else CONFIG, f"spool.url: {error}") from error


def place(settings: CliSettings, environ: Mapping[str, str]) -> "Config":
    """Read of the configuration where the relay is; raises :class:`CliError` (78) if that is wrong."""
    from smtprelay.config.load import PLACE  # noqa: PLC0415 -- slow to import

    return configuration(settings, environ, PLACE)


def configuration(
    settings: CliSettings, environ: Mapping[str, str], only: Collection[str] | None = None
) -> "Config":
    """Read the configuration, or ``only`` some sections; raises :class:`CliError` (78) if that is wrong."""
    from smtprelay.config import ConfigError, load  # noqa: PLC0415 -- slow to import

    settings = settings_in_container(settings)
    try:
        return load(settings.config, environ, settings.sets, alone=True, only=only).config
    except ConfigError as error:
        first = error.problems[0]
        hint = "" if first.code in {"CFG-NO-FILE", "CFG-NONE"} else " (smtprelay config check shows all)"
        raise CliError(CONFIG, f"{first}{hint}") from error


class ListenerAddress(NamedTuple):
    """
    Where this machine's relay takes mail.

    :ivar server: ``host:port``.
    :ivar tls: ``implicit``, ``starttls`` where it takes no mail without, or ``None``.
    :ivar why: why it is that one, in words.
    :ivar hostname: the relay's name.
    :ivar is_demo: nothing is configured: only the demo can be there.
    """

    server: str
    tls: str | None
    why: str
    hostname: str
    is_demo: bool = False


def listener_address(settings: CliSettings, environ: Mapping[str, str]) -> ListenerAddress:
    """
    Return the first listener that can be reached over TCP; without any configuration that of the demo.

    Raises :class:`CliError` (78) if there is none, or the listeners or the hostname are wrong.
    """
    from smtprelay.config.endpoint import is_encrypted, reached_at  # noqa: PLC0415 -- slow to import

    try:
        config = configuration(settings, environ, ("hostname", "listeners"))
    except CliError as error:
        if "[CFG-NONE]" not in str(error):
            raise
        why = "the port of smtprelay demo, as no configuration was found"
        return ListenerAddress(DEMO, None, why, "localhost", is_demo=True)
    for listener in config.listeners:
        address = reached_at(listener.endpoint)
        if address is not None:
            required = listener.tls.require == "always" and listener.tls.mode == "starttls"
            implicit = listener.tls.mode == "implicit" or is_encrypted(listener.endpoint)
            return ListenerAddress(
                host_and_port(*address),
                "implicit" if implicit else "starttls" if required else None,
                f"the listener {listener.name}",
                config.hostname,
            )
    raise CliError(CONFIG, "no listener is configured that this machine can reach over TCP")


def settings_in_container(settings: CliSettings, process: Path = Path("/proc/1/cmdline")) -> CliSettings:
    """Return ``settings``, or, if they name no relay, those that process 1 got if it is one."""
    if settings.config or settings.sets or settings.endpoint:
        return settings
    try:
        words = process.read_bytes().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return settings
    names = [word.rpartition("/")[2] for word in words]
    if "smtprelay" not in names:
        return settings
    given = words[names.index("smtprelay") + 1 :]
    configs = _values(given, "-c", "--config")
    return settings._replace(config=configs[-1] if configs else None, sets=tuple(_values(given, "--set")))


def _values(words: Sequence[str], *names: str) -> list[str]:
    """Return the values of an option: each is the next word, or in the same one."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if word in names:
            found.append(following)
        elif equals and name in names:
            found.append(value)
        elif names[0] == "-c" and word.startswith("-c"):
            found.append(word[2:])
    return found


def _socket(settings: CliSettings, environ: Mapping[str, str]) -> str:
    named = settings.config or environ.get("SMTPRELAY_CONFIG") or (HERE if Path(HERE).exists() else "")
    if named or settings.sets:
        likely = [] if settings.sets else [_written_out(named, environ)]
    else:
        folders = filter(None, (environ.get("RUNTIME_DIRECTORY", ""), *FOLDERS))
        likely = [f"{folder}/control.sock" for folder in folders]
    if found := next(filter(os.path.lexists, likely), ""):
        return found
    try:
        return place(settings, environ).control_socket
    except CliError as error:
        # The relay that runs has read another text; its service or image gives it this folder.
        usual = f"{_runtime(environ)}/control.sock"
        if _runtime(environ) and os.path.lexists(usual):
            return usual
        hint = "a relay that runs is reached with --endpoint SOCKET (control.sock in the folder of its spool)"
        raise CliError(error.status, f"{error}; {hint}") from error


def _runtime(environ: Mapping[str, str]) -> str:
    return environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]


def _written_out(file: str, environ: Mapping[str, str]) -> str:
    """Return the socket of a small file that says where it is, ``""`` if it takes the whole configuration."""
    import yaml  # noqa: PLC0415 -- few commands need it

    if any(name.startswith(("SMTPRELAY_CONTROL", "SMTPRELAY_SPOOL")) for name in environ):
        return ""
    path, runtime = Path(file), _runtime(environ)
    try:
        if not path.is_file() or path.stat().st_size > _SMALL:  # a pipe could not be read again
            return ""
        settings = yaml.safe_load(path.read_bytes())
        if not (socket := settings.get("control_socket")):
            spool = {} if runtime else settings["spool"]
            if spool.get("engine", "sqlite") != "sqlite":
                return ""
            socket = f"{runtime or spool['path']}/control.sock"
        return str(path.absolute().parent / socket)
    except (OSError, LookupError, ValueError, AttributeError, TypeError, RecursionError, yaml.YAMLError):
        return ""
