"""
Rewriting and the sandbox: rules that contradict each other, or that no mail can obey.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from smtprelay.config.checks import CheckedConfig
from smtprelay.config.rewrite import RewriteSettings
from smtprelay.model.address import is_mailbox
from smtprelay.model.patterns import Patterns, glob
from smtprelay.settings.complaint import Complaint, Path, did_you_mean

#: Fields that say what the mail is, or that others write.
_NOT_ADDED: Final = re.compile(
    "from|sender|to|cc|bcc|date|message-id|received|return-path|mime-version|dkim-signature"
    "|(?:content|resent|arc)-.*",
    re.IGNORECASE,
)
_NOT_REMOVED: Final = re.compile("from|mime-version|content-.*", re.IGNORECASE)


def check_rewrites(view: CheckedConfig) -> Iterator[Complaint]:
    """Each setting of a rule has a purpose, and what it makes is a mail."""
    for n, route in enumerate(view.config.routes):
        path: Path = ("routes", n, "rewrite")
        rule = route.rewrite
        if rule is None or not view.whole(*path):
            continue
        if rule == RewriteSettings():
            yield Complaint(path, "rewrite changes nothing", "CFG-VALUE", "warning")
        yield from _author(rule, path)
        yield from _recipients(rule.recipients, (*path, "recipients"))
        yield from _header_fields(rule, path)


def _author(rule: RewriteSettings, path: Path) -> Iterator[Complaint]:
    if rule.from_ is None:
        for name in ("keep_from_domains", "reply_to"):
            if getattr(rule, name):
                text = f'{name} is only for mail whose From is replaced: "from" is missing'
                yield Complaint((*path, name), text, "CFG-VALUE")
    elif not is_mailbox(rule.from_):
        yield Complaint((*path, "from"), _undeliverable(rule.from_), "CFG-VALUE")


def _recipients(recipients: Mapping[str, str], path: Path) -> Iterator[Complaint]:
    told: set[str] = set()
    for known, target in recipients.items():
        if known == target:
            text = f'"{known}" takes its own place: this changes nothing'
            yield Complaint((*path, known), text, "CFG-VALUE", "warning")
        if not is_mailbox(target.replace("*", "x", 1)):
            yield Complaint((*path, known), _undeliverable(target), "CFG-VALUE")
        elif known not in told and (circle := _circle(recipients, known)):
            told.update(circle)
            text = f"these may replace each other without an end: {', '.join(circle)}"
            yield Complaint((*path, known), text, "CFG-VALUE")


def _circle(recipients: Mapping[str, str], begin: str) -> Sequence[str]:
    """Return the rules, from ``begin`` on, that may lead an address back to ``begin``; none if none do."""
    reached: dict[str, Sequence[str]] = {}
    ahead: list[Sequence[str]] = [(begin,)]
    while ahead:
        way = ahead.pop()
        for known in recipients:
            if known in (way[-1], *reached) or not _may_match(known, recipients[way[-1]]):
                continue
            if known == begin:
                return way
            reached[known] = (*way, known)
            ahead.append(reached[known])
    return ()


def _may_match(known: str, target: str) -> bool:
    if not target.startswith("*@"):
        return Patterns((known,)).match(target)
    return known == "*" or glob(known.rpartition("@")[2]).fullmatch(target[2:]) is not None


def _header_fields(rule: RewriteSettings, path: Path) -> Iterator[Complaint]:
    added = [((*path, "add_headers", name), name) for name in rule.add_headers]
    removed = [((*path, "remove_headers", n), name) for n, name in enumerate(rule.remove_headers)]
    for where, name in added:
        if _NOT_ADDED.fullmatch(name):
            text = f"{name} is not for add_headers: it says what the mail is, or others write it"
            yield Complaint(where, text, "CFG-VALUE")
    for where, name in removed:
        if _NOT_REMOVED.fullmatch(name):
            text = f"{name} is not for remove_headers: without it the mail is another one"
            yield Complaint(where, text, "CFG-VALUE")
    for where, name in (*added, *removed):
        if name.lower() == "reply-to" and rule.reply_to:
            yield Complaint(where, "reply_to says already what becomes of Reply-To", "CFG-VALUE")


def _undeliverable(address: str) -> str:
    return f'"{address}" is no address that mail can be delivered to'


def check_sandbox(view: CheckedConfig) -> Iterator[Complaint]:
    """The provider of the sandbox exists; that there is a sandbox is said at each start."""
    sandbox, providers = view.config.sandbox, view.names("providers")
    if sandbox is None or providers is None:
        return
    if sandbox.via not in providers:
        text = f'unknown provider "{sandbox.via}"{did_you_mean(sandbox.via, providers)}'
        yield Complaint(("sandbox", "via"), text, "CFG-UNKNOWN-NAME")
    elif {"*", "*@*"} & set(sandbox.allow):
        yield Complaint(("sandbox", "allow"), "all recipients are allowed: no mail stays", "CFG-VALUE")
    else:
        others = f" but to {', '.join(sandbox.allow)}" if sandbox.allow else ""
        text = f'sandbox: all mail{others} goes to "{sandbox.via}" and does not arrive'
        yield Complaint(("sandbox",), text, "CFG-SANDBOX", "warning")


CHECKS: Final = (check_rewrites, check_sandbox)
