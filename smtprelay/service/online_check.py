"""
``smtprelay config check --online``: asks the providers and DNS whether mail will leave and be believed.

All is asked at once, each question with a time limit of its own, and no mail is sent. The providers are built
as the relay builds them, so requests go the same way: through the same proxies, with the same secrets.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong

from smtprelay.config.model import Config
from smtprelay.http.client import NoAnswerError
from smtprelay.interfaces import Provider
from smtprelay.interfaces.online import OnlineCheck, OnlineFinding, Senders, domain_of, of_outcome
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.expiry import expiry_words
from smtprelay.net.dns_records import DnsFailed, text_records
from smtprelay.net.sender_records import Dmarc, check_published, check_spf, find_dmarc, spf_records
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.online import ServiceClock, online_checks_of
from smtprelay.providers.registry import kind_of
from smtprelay.service.expiry_watch import expiries_of
from smtprelay.service.senders import senders_of
from smtprelay.service.threads import Threads
from smtprelay.settings.provider import RemoteProviderSettings

T = TypeVar("T")

#: Seconds that closed connections are waited for.
_CLOSING: Final = 2.0


@define(eq=False)
class OnlineChecker:
    """
    Asks.

    :param resolver: an ``IResolver``.
    :param timeout: seconds for each question.
    """

    _config: Config
    _reactor: Any
    _resolver: Any
    _timeout: float
    _dmarc: dict[str, Dmarc | None] = field(factory=dict, init=False)
    _signed: set[str] = field(factory=set, init=False)

    async def findings(self) -> Sequence[OnlineFinding]:
        """Return what was found out, in the order of the configuration."""
        config = self._config
        senders = {name: senders_of(config, name) for name in config.providers}
        domains = dict.fromkeys(domain_of(author) for each in senders.values() for author in each.authors)
        asked: list[Coroutine[Any, Any, Sequence[OnlineFinding]]] = [
            *(self._of_provider(name, each) for name, each in senders.items()),
            *(self._of_domain(domain) for domain in domains),
            *(self._of_key(number) for number in range(len(config.dkim))),
        ]
        found: list[Sequence[OnlineFinding]] = await gatherResults(map(Deferred.fromCoroutine, asked))
        of_providers = dict(zip(senders, found, strict=False))
        return [
            *(finding for each in found for finding in each),
            *(
                self._alignment(name, domain_of(author), of_providers[name])
                for name, each in senders.items()
                if isinstance(config.providers[name], RemoteProviderSettings)
                for author in each.authors
                if self._dmarc.get(domain_of(author)) is not None
            ),
            *self._expiries(),
        ]

    # --- providers

    async def _of_provider(self, name: str, senders: Senders) -> Sequence[OnlineFinding]:
        about, clock, settings = (
            f"providers.{name}",
            ServiceClock(self._reactor),
            self._config.providers[name],
        )
        context = ProviderContext(
            reactor=self._reactor,
            events=_silence,
            # Neither a file nor a service that hangs is waited for.
            defer_to_thread=Threads(self._reactor).own,
            defer_to_own_thread=Threads(self._reactor).own,
            mime=ProcessMimeWorker(self._reactor, _silence),
            hostname=self._config.hostname,
            open_http=clock.open_http,
        )
        try:
            provider = kind_of(settings).build(name, settings, context)
        except Exception as error:  # noqa: BLE001 -- of whatever package it is: it is told
            return [OnlineFinding(f"it cannot be used: {error}", "error", about, "settings")]
        checks = online_checks_of(provider, senders)
        found = await self._all(about, checks.items())
        if not senders.authors and isinstance(settings, RemoteProviderSettings):
            text = "no setting says who sends, such as allow_senders: their domains are not checked"
            found.append(OnlineFinding(text, "warning", about, "senders"))
        if clock.finding is not None:
            found.append(clock.finding.of(about, "clock"))
        ends = [each.login_expires for each in context.renewed.values() if each.login_expires is not None]
        found += [each.of(about, "login") for each in map(self._expiry, ends) if each is not None]
        await self._close(provider)
        return found

    async def _close(self, provider: Provider) -> None:
        try:
            await self._in_time(provider.close, _CLOSING)
        except Exception:  # noqa: BLE001 -- what was asked is known already
            return

    # --- DNS

    async def _of_domain(self, domain: str) -> Sequence[OnlineFinding]:
        return await self._all(
            domain, [("SPF", lambda: self._spf(domain)), ("DMARC", lambda: self._dmarc_of(domain))]
        )

    async def _spf(self, domain: str) -> Iterable[OnlineFinding]:
        texts = await text_records(self._resolver, domain)
        wrong = check_spf(texts)
        if wrong is None:
            return [OnlineFinding(spf_records(texts)[0])]
        return [OnlineFinding(wrong.text, "error" if wrong.is_error else "warning")]

    async def _dmarc_of(self, domain: str) -> Iterable[OnlineFinding]:
        try:
            found = self._dmarc[domain] = await find_dmarc(self._resolver, domain)
        except ValueError as error:
            return [OnlineFinding(str(error), "error")]
        if found is None:
            text = f"there is no record: publish v=DMARC1; p=none at _dmarc.{domain}, some receivers want one"
            return [OnlineFinding(text, "warning")]
        return [OnlineFinding(f"policy {found.policy}, by the record of {found.organization}")]

    async def _of_key(self, number: int) -> Sequence[OnlineFinding]:
        key = self._config.dkim[number]

        async def check() -> Iterable[OnlineFinding]:
            found = await check_published(self._resolver, key.domain, key.selector, key.key.reveal)
            if not any(each.is_error for each in found):
                self._signed.add(key.domain.lower())
            return [OnlineFinding(each.text, "error" if each.is_error else "warning") for each in found] or [
                OnlineFinding("the record has this key")
            ]

        return await self._all(f"dkim[{number}]", [(f"{key.selector}._domainkey.{key.domain}", check)])

    def _alignment(self, name: str, domain: str, found: Iterable[OnlineFinding]) -> OnlineFinding:
        """Return whether what a provider sends is signed for the domain in From."""
        settings, dmarc = self._config.providers[name], self._dmarc[domain]
        assert dmarc is not None
        about, check = f"providers.{name}", f"alignment of {domain}"
        signers = {other for each in found for other in each.authenticates}
        if kind_of(settings).raw and domain in self._signed:
            signers.add(domain)
        aligned = sorted(other for other in signers if dmarc.aligns(domain, other))
        if aligned:
            return OnlineFinding(f"mail is authenticated by {aligned[0]}", "ok", about, check)
        signed = f"only by {', '.join(sorted(signers))}" if signers else "by nobody we know of"
        text = f"mail is authenticated {signed}; unless the service signs it for {domain}, DMARC fails"
        return OnlineFinding(f"{text} (policy {dmarc.policy})", "warning", about, check)

    # --- what expires

    def _expiries(self) -> Iterable[OnlineFinding]:
        for name, end in expiries_of(self._config):
            found = self._expiry(end)
            if found is not None:
                yield found.of(name, "expiry")

    def _expiry(self, end: float) -> OnlineFinding | None:
        now = self._reactor.seconds()
        text = expiry_words(end, now)
        return OnlineFinding(text, "error" if end <= now else "warning") if text else None

    # --- asking

    async def _all(self, about: str, checks: Iterable[tuple[str, OnlineCheck]]) -> list[OnlineFinding]:
        """Ask all at once."""
        asked = [Deferred.fromCoroutine(self._asked(about, name, check)) for name, check in checks]
        return [finding for each in await gatherResults(asked) for finding in each]

    async def _asked(self, about: str, name: str, check: OnlineCheck) -> Sequence[OnlineFinding]:
        try:
            found = [*await self._in_time(check, self._timeout)]
        except TookTooLong:
            found = [OnlineFinding(f"no answer within {self._timeout:g} s", "unknown")]
        except NoAnswerError as error:
            found = [of_outcome(error.outcome)]
        except DnsFailed as error:
            found = [OnlineFinding(f"DNS cannot be asked: {error}", "unknown")]
        except Exception as error:  # noqa: BLE001 -- one question must not hide the answers to others
            found = [OnlineFinding(f"unexpected error: {type(error).__name__}: {error}", "error")]
        return [each.of(about, name) for each in found]

    def _in_time(self, work: Callable[[], Awaitable[T]], seconds: float) -> "Deferred[T]":
        """Fire with what ``work`` returns, or with :class:`TookTooLong`, whatever it then does."""
        ended: Deferred[T] = Deferred()

        async def working() -> T:
            return await work()

        def give_up() -> None:
            ended.errback(TookTooLong())
            asking.cancel()

        timer = self._reactor.callLater(seconds, give_up)

        def end(result: Any) -> None:
            if not ended.called:
                timer.cancel()
                ended.callback(result)

        asking = Deferred.fromCoroutine(working())
        asking.addBoth(end)
        return ended


def _silence(_event: str, /, **_fields: object) -> None:
    """Ignore an event: what happens is told as a finding."""
