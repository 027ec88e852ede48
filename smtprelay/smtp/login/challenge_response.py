"""
Mechanisms that do not send the password: CRAM-MD5 (RFC 2195) and SCRAM-SHA-256 (RFC 5802, RFC 7677). Pure.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from smtprelay.model.message import Refused
from smtprelay.model.scram import server_signature
from smtprelay.smtp import reply
from smtprelay.smtp.login.login_steps import ClaimedLogin, SaltRequest, Step

#: Of a name what is no text becomes surrogates, which are not printable.
TEXT: Final = ("utf-8", "surrogateescape")


@frozen
class LoginChannel:
    """
    What a mechanism must know beside what the client sends.

    :ivar nonce: random, printable, without commas; never used before.
    :ivar hostname: ours.
    :ivar bindings: by its name (RFC 5056) what only both ends of this TLS connection have in common.
    :ivar names: in the certificate that the client has shown.
    :ivar binds: a mechanism with ``-PLUS`` is offered.
    """

    nonce: str = field(default="", repr=False)
    hostname: str = "localhost"
    bindings: Mapping[str, bytes] = field(factory=dict, repr=False)
    binds: bool = False
    names: tuple[str, ...] = ()


class Cram:
    """The client proves by a digest of our challenge that it knows the password."""

    final = b""

    def __init__(self, channel: LoginChannel) -> None:
        self._challenge = f"<{channel.nonce}@{channel.hostname}>".encode()

    def start(self) -> Step:
        """Return the challenge."""
        return self._challenge

    def step(self, response: bytes) -> Step:
        """Take the name and the digest (RFC 2195 §2); the digest is checked with the password."""
        name, _, digest = response.rpartition(b" ")
        return ClaimedLogin("CRAM-MD5", name.decode(*TEXT), digest, lambda secret: self._fits(secret, digest))

    def _fits(self, password: bytes, digest: bytes) -> bool:
        expected = hmac.new(password, self._challenge, "md5").hexdigest().encode()
        return hmac.compare_digest(expected, digest.lower())


#: ``gs2-header client-first-message-bare`` (RFC 5802 §7); an extension that we must know has ``m=`` in front.
_FIRST: Final = re.compile(
    rb"(?P<header>(?P<flag>[ny]|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=[^,\0]+)?,)"
    rb"(?P<bare>n=(?P<name>(?:[^,=\0]|=2C|=3D)*),r=(?P<nonce>[!-+\x2d-~]+)(?:,[A-Za-z]=[^,\0]+)*)"
)
_FINAL: Final = re.compile(
    rb"(?P<rest>c=(?P<binding>[A-Za-z0-9/+=]+),r=(?P<nonce>[!-+\x2d-~]+)(?:,[A-Za-z]=[^,\0]+)*)"
    rb",p=(?P<proof>[A-Za-z0-9/+=]+)"
)


class Scram:
    """
    Both ends prove that they know the password, or a value made from it.

    :param plus: the channel is bound to the exchange, so that nobody in the middle can pass it on.
    :ivar final: our proof, once that of the client was right.
    """

    def __init__(self, channel: LoginChannel, *, plus: bool = False) -> None:
        self.final = b""
        self._channel = channel
        self._plus = plus
        self._bare = self._header = self._server_first = self._nonce = b""

    def start(self) -> Step:
        """Return nothing: the client begins."""
        return b""

    def step(self, response: bytes) -> Step:
        """Take the first message of the client, then its proof (RFC 5802 §5)."""
        return self._proof(response) if self._server_first else self._first(response)

    def _first(self, response: bytes) -> Step:
        first = _FIRST.fullmatch(response)
        if first is None or not self._is_bound_well(first["flag"], first["binding"]):
            raise Refused(reply.LOGIN_FAILED)
        binding = first["binding"]
        data = self._channel.bindings[binding.decode()] if binding else b""
        self._header = b64encode(first["header"] + data)
        self._bare = first["bare"]
        self._nonce = first["nonce"] + self._channel.nonce.encode()
        self._name = first["name"].replace(b"=2C", b",").replace(b"=3D", b"=").decode(*TEXT)
        return SaltRequest(self._name, self._challenge)

    def _is_bound_well(self, flag: bytes, binding: bytes | None) -> bool:
        """Tell whether the client binds the channel where it should, and by what we have."""
        if binding is not None:
            return self._plus and binding.decode() in self._channel.bindings
        # ``y``: the client could bind, and believes that we cannot. Somebody has changed what we offer.
        return not self._plus and not (flag == b"y" and self._channel.binds)

    def _challenge(self, attributes: bytes) -> Step:
        self._server_first = b"r=%b,%b" % (self._nonce, attributes)
        return self._server_first

    def _proof(self, response: bytes) -> Step:
        last = _FINAL.fullmatch(response)
        if last is None or last["binding"] != self._header or last["nonce"] != self._nonce:
            raise Refused(reply.LOGIN_FAILED)
        try:
            proof = b64decode(last["proof"], validate=True)
        except binascii.Error as error:
            raise Refused(reply.LOGIN_FAILED) from error
        exchange = b",".join((self._bare, self._server_first, last["rest"]))

        def proves(verifier: bytes) -> bool:
            signature = server_signature(verifier, exchange, proof)
            self.final = b"" if signature is None else b"v=" + b64encode(signature)
            return signature is not None

        mechanism = "SCRAM-SHA-256-PLUS" if self._plus else "SCRAM-SHA-256"
        return ClaimedLogin(mechanism, self._name, proof, proves)
