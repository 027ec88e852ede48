"""``smtprelay dkim``: makes keys that sign mail, and compares them with their records in DNS."""

import os
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import CANNOT_USE, FAILED, OK, USAGE, CliError
from smtprelay.cli.locate import configuration
from smtprelay.cli.options import Group, chosen

if TYPE_CHECKING:
    from smtprelay.config.model import DkimSettings
    from smtprelay.mime.dkim.record import RecordFinding

#: Those of :data:`smtprelay.mime.dkim.key.KINDS`, which is slow to import.
_KINDS: Final = click.Choice(["rsa", "ed25519"])
_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
_DNS_PORT: Final = 53

_T = TypeVar("_T")


class _CheckedKey(NamedTuple):
    """A key of the configuration, the name of its record, and what was found."""

    settings: "DkimSettings"
    name: str
    findings: "Sequence[RecordFinding]"

    @property
    def ok(self) -> bool:
        """Whether signatures by it are valid."""
        return not any(each.is_error for each in self.findings)


@click.group(cls=Group)
def dkim() -> None:
    """Make keys that sign mail, and check their records in DNS."""


@dkim.command()
@click.argument("domain")
@click.option("--selector", required=True, metavar="NAME", help="The name of the key, such as s2026.")
@click.option("--type", "kind", type=_KINDS, default="rsa", show_default=True, help="The kind of key.")
@click.option("--out", "file", required=True, metavar="FILE", help="Where the private key is written.")
@click.pass_context
def keygen(ctx: click.Context, /, *, domain: str, selector: str, kind: str, file: str) -> None:
    """
    Make a key for the mail of DOMAIN, and print the DNS record to publish.

    The private key is written to a new file that only its owner can read.
    """
    from smtprelay.mime.dkim.key import new_key, parse_key  # noqa: PLC0415
    from smtprelay.mime.dkim.record import record_name, record_of, zone_line  # noqa: PLC0415
    from smtprelay.model.address import ascii_domain  # noqa: PLC0415 -- no other command needs it

    for each in (domain, selector):
        if not _NAME.fullmatch(ascii_domain(each)):
            raise CliError(USAGE, f'"{each}" is no name in DNS')
    name = record_name(ascii_domain(domain), ascii_domain(selector))
    text = new_key(kind)
    _write_new(file, text)
    record = record_of(parse_key(text))
    made = {"file": file, "name": name, "type": "TXT", "text": record, "zone": zone_line(name, record)}
    settings = (
        f"dkim:\n  - {{domain: {domain}, selector: {selector}, key: {{file: {Path(file).absolute()}}}}}"
    )
    lines = (
        f"The private key is in {file}. The relay must be able to read it.",
        *("", f"Publish this TXT record at {name}:", "", record),
        *("", "In a zone file, where a long text is several strings:", "", made["zone"]),
        *("", "When `smtprelay dkim check` finds it, the key signs by these settings:", "", settings),
    )
    output.result(ctx, made, lambda: click.echo("\n".join(lines)))


@dkim.command()
@click.option(
    "--nameserver",
    metavar="ADDRESS[:PORT]",
    help="The DNS server to ask, such as one of the domain's own; default: that of this machine.",
)
@click.pass_context
def check(ctx: click.Context, /, *, nameserver: str | None) -> int:
    """
    Compare each key of the configuration with its record in DNS.

    The exit status is 1 if signatures by one of them are not valid.
    """
    server = None if nameserver is None else _server(nameserver)
    keys = configuration(chosen(ctx), os.environ).dkim
    if not keys:
        raise CliError(FAILED, "the configuration has no section dkim: there is no key to check")
    checked = _run(lambda reactor: _checked(keys, reactor, server))
    rows = [
        {
            "domain": each.settings.domain,
            "selector": each.settings.selector,
            "name": each.name,
            "ok": each.ok,
            "findings": [finding.text for finding in each.findings],
        }
        for each in checked
    ]
    output.result(ctx, {"keys": rows}, lambda: click.echo("\n".join(_told(checked))), rows=rows)
    return OK if all(each.ok for each in checked) else FAILED


def _told(checked: Sequence[_CheckedKey]) -> Iterator[str]:
    for each in checked:
        if not each.findings:
            yield f"{each.name}: ok"
        for finding in each.findings:
            yield f"{each.name}: {'' if finding.is_error else 'advice: '}{finding.text}"


def _write_new(file: str, text: str) -> None:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise CliError(CANNOT_USE, f"{file} exists already: name a new file") from error


def _server(text: str) -> tuple[str, int]:
    """Return the address and the port; a colon in an IPv6 address belongs to it, unless it is in brackets."""
    host, colon, port = text.rpartition(":")
    try:
        if not colon or (":" in host and not host.startswith("[")):
            return str(ip_address(text.strip("[]"))), _DNS_PORT
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise CliError(USAGE, f'"{text}" is no IP address, nor one with a port') from None


def _run(work: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
    """Run a reactor until ``work`` is done, and return what it returns."""
    from twisted.internet import reactor  # noqa: PLC0415 -- it is installed by that
    from twisted.internet.defer import Deferred  # noqa: PLC0415
    from twisted.python.failure import Failure  # noqa: PLC0415

    ended: list[Any] = []
    loop: Any = reactor

    def begin() -> None:
        Deferred.fromCoroutine(work(loop)).addBoth(ended.append).addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    if not ended:
        raise click.Abort
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    result: _T = ended[0]
    return result


async def _checked(
    keys: "Sequence[DkimSettings]", reactor: Any, server: tuple[str, int] | None
) -> Sequence[_CheckedKey]:
    from smtprelay.net.dns_records import make_resolver  # noqa: PLC0415 -- slow to import

    resolver = make_resolver(reactor, server)
    return [await _check(each, resolver) for each in keys]


async def _check(settings: "DkimSettings", resolver: Any) -> _CheckedKey:
    from smtprelay.mime.dkim.key import parse_key  # noqa: PLC0415
    from smtprelay.mime.dkim.record import RecordFinding, check_record, record_name  # noqa: PLC0415
    from smtprelay.model.address import ascii_domain  # noqa: PLC0415
    from smtprelay.net.dns_records import DnsFailed, text_records  # noqa: PLC0415

    name = record_name(ascii_domain(settings.domain), ascii_domain(settings.selector))
    try:
        key = parse_key(settings.key.reveal())
        texts = await text_records(resolver, name)
    except ValueError as error:
        return _CheckedKey(settings, name, [RecordFinding(f"the key cannot be used: {error}")])
    except DnsFailed as error:
        return _CheckedKey(settings, name, [RecordFinding(f"DNS cannot be asked: {error}")])
    return _CheckedKey(settings, name, list(check_record(texts, key)))
