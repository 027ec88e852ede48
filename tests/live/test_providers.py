"""
The contract suite of providers against the real services.

It runs in a thread, for it waits, while the reactor works.
"""

import os
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import wraps
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.interfaces import Attempt, Provider
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.outcome import Delivered, Outcome, Results
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import BUILT_IN
from smtprelay.settings.secret import fixed
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import (
    BOB,
    CY,
    Contract,
    CredentialsContract,
    DeliveryContract,
    FakedProvider,
    IdempotentContract,
    ResolveContract,
)

#: Settings by the variable that has them, and those that may be missing.
MAILGUN = {"domain": "MAILGUN_DOMAIN", "api_key": "MAILGUN_API_KEY"}
RESEND = {"api_key": "RESEND_API_KEY"}
ACS = {"connection_string": "ACS_CONNECTION_STRING", "sender": "SENDER_EMAIL"}
SES = {"region": "AWS_REGION"}
OPTIONAL = {"MAILGUN_REGION": "region", "MAILGUN_ENDPOINT": "endpoint", "RESEND_ENDPOINT": "endpoint"}
SECRETS = {"api_key", "connection_string"}
PEOPLE = ("RECIPIENT_EMAIL", "SENDER_EMAIL")


def missing(*names: str) -> str | None:
    """Return why a test is skipped, if one of these variables is not set."""
    absent = [name for name in (*names, *PEOPLE) if not os.environ.get(name)]
    return f"not set: {', '.join(absent)}" if absent else None


def in_thread(test: Callable[[Any], None]) -> Callable[[Any], "Deferred[None]"]:
    """Return a test that runs in a thread."""

    @wraps(test)
    def threaded(self: Any) -> "Deferred[None]":
        return deferToThread(test, self)

    return threaded


def built(kind: str, variables: Mapping[str, str], **changed: str) -> Provider:
    """Return the provider that the relay builds from these variables; ``changed`` are other settings."""
    known = {name: os.environ[variable] for name, variable in variables.items()}
    more = {
        name: os.environ[variable]
        for variable, name in OPTIONAL.items()
        if variable.startswith(kind.upper()) and variable in os.environ
    }
    given = {**known, **more, **changed}
    values = {name: fixed(text, "inline") if name in SECRETS else text for name, text in given.items()}
    context = ProviderContext(
        reactor=reactor,
        events=lambda _event, /, **_fields: None,
        defer_to_thread=deferToThread,
        defer_to_own_thread=deferToThread,
        mime=InlineMimeWorker(),
        hostname="relay.example.com",
    )
    made = BUILT_IN[kind].settings(type=kind, limits=BUILT_IN[kind].limits, **values)
    provider = BUILT_IN[kind].build("live", made, context)
    if not BUILT_IN[kind].raw:
        return provider
    sender = os.environ["SENDER_EMAIL"]
    return OutgoingProvider(provider, context.mime, hostname=context.hostname, bounces_from=sender)


class RealPeople(ProviderDefaults):
    """
    Sends what the suite sends to its people to a real mailbox instead, each time as another message.

    :ivar taken: whom the service took a mail for, with its id, once each.
    """

    def __init__(self, provider: Provider) -> None:
        self.idempotent, self.uses_login = provider.idempotent, provider.uses_login
        self.limits = provider.limits
        self.name, self.lane = provider.name, provider.lane
        self.probe, self.close = provider.probe, provider.close
        self.taken: dict[tuple[str, str], None] = {}
        self._provider = provider
        self._message = uuid.uuid4().hex
        local, _, domain = os.environ["RECIPIENT_EMAIL"].rpartition("@")
        sender = os.environ["SENDER_EMAIL"]
        self._real = {BOB: f"{local}@{domain}", CY: f"{local}+cy@{domain}", "ann@mail.example.com": sender}

    async def deliver(self, attempt: Attempt) -> Results:
        body = await attempt.body.whole()
        for name, real in self._real.items():
            body = body.replace(name.encode(), real.encode())
        delivery = self._translated(attempt.delivery)
        results = await self._provider.deliver(evolve(attempt, delivery=delivery, body=MemoryBody(body)))
        back = self._back(results)
        self.taken.update({(who, each.id): None for who, each in back.items() if isinstance(each, Delivered)})
        return back

    async def resolve(self, delivery: Delivery) -> Results | None:
        found = await self._provider.resolve(self._translated(delivery))
        return None if found is None else self._back(found)

    def _translated(self, delivery: Delivery) -> Delivery:
        addresses = [self._real.get(each, each) for each in delivery.envelope.addresses]
        sender = self._real.get(delivery.envelope.sender, delivery.envelope.sender)
        people = tuple(Recipient(address=address) for address in addresses)
        envelope = Envelope(sender=sender, recipients=people)
        return evolve(delivery, message=self._message, envelope=envelope)

    def _back(self, results: Results) -> dict[str, Outcome]:
        names = {real: name for name, real in self._real.items()}
        return {names.get(address, address): outcome for address, outcome in results.items()}


class RealProvider(FakedProvider):
    """A provider before the real service; of the scenes it can play wrong credentials alone."""

    provider: RealPeople

    def __init__(self, kind: str, variables: Mapping[str, str]) -> None:
        self.provider = RealPeople(built(kind, variables))
        self._kind = kind
        self._variables = variables

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)

    def play(self, scene: str) -> None:
        assert scene == "credentials"
        self.run(self.provider.close())
        self.provider = RealPeople(built(self._kind, self._variables, api_key="re_wrong"))

    def recipients(self) -> Sequence[str]:
        return [who for who, _ in self.provider.taken]

    def leftovers(self) -> Sequence[object]:
        return ()


class LiveContract(Contract):
    """Runs the suite in a thread, for a ``kind`` with its ``variables``."""

    timeout = 900
    kind = ""
    variables: Mapping[str, str] = {}

    def __init_subclass__(cls) -> None:
        for name in dir(cls):
            if name.startswith("test_"):
                setattr(cls, name, in_thread(getattr(cls, name)))

    def faked(self) -> FakedProvider:
        at = RealProvider(self.kind, self.variables)
        self.addCleanup(lambda: Deferred.fromCoroutine(at.provider.close()))
        return at


class MailgunTests(LiveContract, DeliveryContract, CredentialsContract, TestCase):
    kind, variables, skip = "mailgun", MAILGUN, missing(*MAILGUN.values())


class ResendTests(LiveContract, DeliveryContract, IdempotentContract, CredentialsContract, TestCase):
    kind, variables, skip = "resend", RESEND, missing(*RESEND.values())


class AcsTests(LiveContract, DeliveryContract, IdempotentContract, ResolveContract, TestCase):
    kind, variables, skip = "acs", ACS, missing(*ACS.values())


class SesTests(LiveContract, DeliveryContract, TestCase):
    kind, variables = "ses", SES
    skip = missing("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *SES.values())
