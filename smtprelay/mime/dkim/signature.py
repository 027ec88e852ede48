"""
The field ``DKIM-Signature`` (RFC 6376 §3.5). Pure.
"""

import base64
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from smtprelay.mime.dkim.canonical import canonical_field
from smtprelay.mime.dkim.headers import SIGNED
from smtprelay.mime.dkim.key import SigningKey
from smtprelay.model.address import ascii_domain

#: Characters in a line of the field.
_LINE: Final = 72


@frozen(kw_only=True)
class SignatureRule:
    """
    How the mail of a domain is signed.

    :ivar domain: in lower case, as DNS has it.
    :ivar relaxed_header: the canonical form of the header is the relaxed one; the same for ``relaxed_body``.
    :ivar names: the fields that are signed, in lower case.
    """

    domain: str
    selector: str
    names: tuple[str, ...]
    relaxed_header: bool = True
    relaxed_body: bool = True

    @property
    def canonicalization(self) -> str:
        """The value of ``c=``."""
        forms = (self.relaxed_header, self.relaxed_body)
        return "/".join("relaxed" if relaxed else "simple" for relaxed in forms)


def signature_rule(
    domain: str, selector: str, canonicalization: str, headers: Sequence[str] | None
) -> SignatureRule:
    """Return how a key signs; ``None`` are the usual headers."""
    header, _, body = canonicalization.partition("/")
    return SignatureRule(
        domain=ascii_domain(domain),
        selector=ascii_domain(selector),
        names=SIGNED if headers is None else tuple(name.lower() for name in headers),
        relaxed_header=header == "relaxed",
        relaxed_body=body == "relaxed",
    )


@frozen(kw_only=True)
class HashedMail:
    """
    What is signed of a mail.

    :ivar names: the value of ``h=``.
    :ivar fields: these, in canonical form.
    :ivar body_hash: of the body in canonical form.
    :ivar time: seconds since the epoch.
    """

    names: bytes
    fields: bytes
    body_hash: bytes
    time: int


def signature_field(rule: SignatureRule, key: SigningKey, mail: HashedMail) -> bytes:
    """Return the field, with its line end. It is the same for the same mail and time."""
    unsigned = b"".join(_unsigned(rule, key.algorithm, mail))
    signature = key.sign(mail.fields + canonical_field(unsigned, relaxed=rule.relaxed_header))
    return unsigned + b"\r\n ".join(_cut(base64.b64encode(signature))) + b"\r\n"


def _unsigned(rule: SignatureRule, algorithm: str, mail: HashedMail) -> Iterator[bytes]:
    """Give the field in pieces, up to the value of ``b=``."""
    yield f"DKIM-Signature: v=1; a={algorithm}; c={rule.canonicalization};\r\n".encode("ascii")
    yield f" d={rule.domain}; s={rule.selector}; t={mail.time};".encode("ascii")
    yield b"\r\n h=" + b"\r\n  ".join(_named_lines(mail.names)) + b";"
    yield b"\r\n bh=" + base64.b64encode(mail.body_hash) + b";"
    yield b"\r\n b="


def _named_lines(names: bytes) -> Iterator[bytes]:
    """Give ``h=`` in lines, each but the last one with the colon behind it."""
    at = 0
    while len(names) - at > _LINE:
        end = names.rfind(b":", at, at + _LINE) + 1 or names.find(b":", at) + 1
        if not end:
            break
        yield names[at:end]
        at = end
    yield names[at:]


def _cut(octets: bytes) -> Iterator[bytes]:
    for start in range(0, len(octets), _LINE):
        yield octets[start : start + _LINE]
