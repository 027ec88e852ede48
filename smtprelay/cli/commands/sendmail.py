"""
``smtprelay sendmail``: takes a mail on standard input, as cron and PHP give it to ``/usr/sbin/sendmail``.

It speaks SMTP to the relay of this machine and keeps nothing: where the relay cannot be reached, its status
says so, and the program that called it must try again.
"""

import getpass
import os
import re
import sys
from collections.abc import Sequence
from email.utils import formataddr
from typing import Any, Final

import click

from smtprelay.cli.exit_codes import OK, PERMISSION, TEMPFAIL, UNAVAILABLE, CliError
from smtprelay.cli.locate import ListenerAddress, listener_address
from smtprelay.cli.options import chosen
from smtprelay.cli.smtp_dialog import DialogStep, SendOptions, SmtpDialog, Stopped
from smtprelay.program import called

#: Of ``sysexits.h``, as no other command has them.
EX_DATAERR: Final = 65
EX_NOUSER: Final = 67

#: Fields whose addresses ``-t`` takes; those of a mail that was resent replace the others.
_TO: Final = ("to", "cc", "bcc")
_RESENT: Final = tuple(f"resent-{name}" for name in _TO)
_FIELD: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:.*\r\n[ \t])*.*)\r\n", re.MULTILINE)

_SECONDS: Final = 60.0
_NOT_ALLOWED: Final = re.compile(r"53\d |5\d\d 5\.7\.")


@click.command()
@click.argument("recipients", nargs=-1, metavar="[ADDRESS]...")
@click.option("-t", "from_header", is_flag=True, help="Send also to the addresses in To, Cc and Bcc.")
@click.option("-i", "dots", is_flag=True, help="A line with only a dot is text; else it ends the mail.")
@click.option("-f", "-r", "sender", metavar="ADDRESS", help="The sender; default: USER@hostname.")
@click.option("-F", "name", default="", metavar="NAME", help="The sender's name, if the mail has no From.")
@click.option("-N", "notify", default="", metavar="WHEN", help="Reports: never, or success,failure,delay.")
@click.option("-R", "returned", default="", metavar="WHAT", help="What reports return: full or hdrs.")
@click.option("-V", "envelope_id", default="", metavar="ID", help="The id that reports name.")
@click.option("-b", "mode", type=click.Choice("mpi"), default="m", help="m: send; p: list the queue.")
@click.option("-q", "runs_queue", is_flag=True, help="Nothing: the relay tries again by itself.")
@click.option("-o", "settings", multiple=True, metavar="X", help="Only -oi counts: it is -i.")
@click.option("-B", "-e", "-L", "-d", "-O", "_values", multiple=True, metavar="X", help="Does not count.")
@click.option("-m", "-n", "-s", "-U", "-v", "-G", "_flags", is_flag=True, help="Does not count.")
@click.pass_context
def sendmail(ctx: click.Context, /, *, mode: str, runs_queue: bool, **given: Any) -> int:
    """
    Send a mail from standard input, as sendmail does.

    A link of the name sendmail to smtprelay serves programs that know only sendmail. The exit status is one
    of sysexits.h: 0, 64 usage, 65 no recipients, 67 refused recipients, 69 refused, 75 try again, 77 not
    allowed, 78 the configuration is wrong.
    """
    if mode == "i" or runs_queue:
        return OK
    if mode == "p":
        from smtprelay.cli.commands.queue import list_  # noqa: PLC0415 -- no mail needs it

        return int(ctx.invoke(list_) or OK)
    place = listener_address(chosen(ctx), os.environ)
    content = _content(ends_at_dot=not (given["dots"] or "i" in given["settings"]))
    recipients = [*given["recipients"], *(_recipients(content) if given["from_header"] else ())]
    if not recipients:
        raise CliError(EX_DATAERR, "the mail has no recipient: name one, or use -t for those in its header")
    sender = given["sender"] if given["sender"] is not None else getpass.getuser()
    sender = _whole(sender.strip("<>"), place.hostname) if sender.strip("<>") else ""
    if given["name"] and not any(name.lower() == b"from" for name, _ in _fields(content)):
        content = f"From: {formataddr((given['name'], sender))}\r\n".encode() + content
    parameters = [f"RET={given['returned']}"] if given["returned"] else []
    parameters += [f"ENVID={given['envelope_id']}"] if given["envelope_id"] else []
    notify = [f"NOTIFY={given['notify']}"] if given["notify"] else []
    whole = dict.fromkeys(_whole(each, place.hostname) for each in recipients)
    return _send(place, sender, tuple(whole), content, (parameters, notify))


def _content(*, ends_at_dot: bool) -> bytes:
    """Return standard input with CRLF, without the line that a mailbox file has before a mail."""
    content = re.sub(rb"\r?\n", b"\r\n", sys.stdin.buffer.read())
    if ends_at_dot:
        content = re.split(rb"^\.\r\n", content, maxsplit=1, flags=re.MULTILINE)[0]
    return re.sub(rb"\AFrom [^\r\n]*\r\n", b"", content)


def _fields(content: bytes) -> list[tuple[bytes, bytes]]:
    header, _, _ = content.partition(b"\r\n\r\n")
    return _FIELD.findall(header + b"\r\n")


def _recipients(content: bytes) -> list[str]:
    from smtprelay.mime.address import addresses  # noqa: PLC0415 -- only -t needs it

    fields = [(name.decode("ascii").lower(), value) for name, value in _fields(content)]
    wanted = _RESENT if any(name in _RESENT for name, _ in fields) else _TO
    values = [value.decode("utf-8", "replace") for name, value in fields if name in wanted]
    return [each.address for each in addresses(values)]


def _whole(address: str, hostname: str) -> str:
    """Return ``address`` with a domain: ``root`` is somebody here."""
    return address if "@" in address else f"{address}@{hostname}"


def _send(
    place: ListenerAddress,
    sender: str,
    recipients: Sequence[str],
    content: bytes,
    parameters: tuple[Sequence[str], Sequence[str]],
) -> int:
    """Send a mail; return the exit status. What fails is told on stderr."""
    failed: list[DialogStep] = []

    def tell(step: DialogStep) -> None:
        if not step.ok:
            failed.append(step)
            click.echo(f"{called()}: {step.name}: {step.words}", err=True)

    # The relay is on this machine: nobody can be in the middle.
    options = SendOptions.to(
        place.server,
        tls=place.tls,
        insecure=True,
        timeout=_SECONDS,
        server_is=place.why if place.is_demo else "",
    )
    dialog = SmtpDialog(options, tell)
    try:
        dialog.open("")
        dialog.send(sender, recipients, content, *parameters)
        dialog.close()
    except Stopped:
        pass
    finally:
        dialog.hang_up()
    return max(map(_status, failed), default=OK)


def _status(step: DialogStep) -> int:
    """Return the exit status for a step that failed; the larger one counts more."""
    if not re.match(r"5\d\d ", step.words):
        return TEMPFAIL
    if _NOT_ALLOWED.match(step.words):
        return PERMISSION
    return EX_NOUSER if step.name.startswith("RCPT") else UNAVAILABLE
