"""
An operator at the page: every button of it, pressed in a real Chromium, at a real relay.

Without Chromium these tests are skipped, and say so.
"""

from collections.abc import Awaitable, Callable

import treq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtprelay.policy.password_hash import hash_password
from tests.interop.browser import CHROMIUM, MISSING, Browser
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

CONFIG = """\
hostname: relay.test
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}}]
providers:
  good: {{type: capture, path: good}}
  bad: {{type: smarthost, host: 127.0.0.1, port: 9, tls: none}}
http: [{{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, dashboard, api]{tokens}}}]
spool: {{path: spool}}
routes:
  - {{name: bad, match: {{recipient: ["*@bad.test"]}}, via: [bad], retry: {{first: 1h, jitter: 0}}}}
  - {{name: good, via: [good]}}
bounces: {{from: MAILER-DAEMON@relay.test, via: [good]}}
"""

#: How often the page has asked for its news.
ASKED = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/status')).length"


class OperatingTests(Stage, TestCase):
    if CHROMIUM is None:
        skip = MISSING

    def at_the_page(
        self, story: Callable[[Browser], Awaitable[None]], *to: str, tokens: str = "", path: str = ""
    ) -> Deferred[None]:
        """Tell ``story`` with the page of a relay that has tried to send a mail to each of ``to``."""

        async def tell() -> None:
            self.relay = self.ending(RelayProcess(self.folder, CONFIG.format(tokens=tokens)))
            await self.relay.start()
            self.ids = [await self.sent(each) for each in to]
            browser = await Browser.start(f"{self.folder}/profile")
            try:
                await browser.go(f"{self.relay.http}/{path}")
                await story(browser)
            finally:
                await browser.stop()

        return Deferred.fromCoroutine(tell())

    async def sent(self, recipient: str) -> str:
        """Send a mail; return its id."""
        reply = await self.relay.send(b"Subject: Scan\r\n\r\nhello\r\n", recipient)
        return f"{reply.split()[-1]}.1"

    async def asks(self, path: str, body: object) -> dict:
        """Ask the relay beside the page, as another operator would."""
        headers = {"X-Smtprelay-CSRF": "1"}
        url = f"{self.relay.http}/api/v1/{path}"
        response = await treq.post(url, json=body, headers=headers, persistent=False)
        return await response.json()

    async def opened(self, browser: Browser, number: int = 0) -> str:
        """Open a delivery by its line; return its id."""
        name = self.ids[number]
        await browser.click(f"[data-testid='msg-row-{name}']")
        await browser.click("[data-testid=do-retry]")
        await self.became(browser, "deferred", lines=3)
        return name

    async def became(self, browser: Browser, state: str, lines: int = 0) -> None:
        """Wait until the detail shows ``state``, and so many lines of what happened."""
        shown = f"document.querySelector('#detail h2 .chip').textContent === {state!r}"
        await browser.until(
            f"{shown} && document.querySelectorAll('[data-testid=timeline-item]').length >= {lines}"
        )

    async def looks_away(self, browser: Browser) -> None:
        """Have the page ask nothing by itself, as behind another tab: what it shows then grows old."""
        await self.hides(browser, "true")
        await browser.evaluate("delete document.body.dataset.shown, dispatchEvent(new Event('hashchange'))")
        await browser.until("document.body.dataset.shown === location.hash")

    async def looks_back(self, browser: Browser) -> None:
        """Have it ask again."""
        await self.hides(browser, "false")
        await browser.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    async def hides(self, browser: Browser, value: str) -> None:
        await browser.evaluate(
            f"Object.defineProperty(document, 'hidden', {{value: {value}, configurable: true}}), true"
        )

    def test_held_released_and_rerouted(self) -> None:
        """Each shows what became of the mail, with who and why, until another provider has delivered it."""

        async def story(browser: Browser) -> None:
            name = await self.opened(browser)
            await browser.type("[name=why]", "look at it")
            await browser.click("[data-testid=do-hold]")
            await self.became(browser, "held")
            await browser.says("by local: look at it")
            await browser.click("[data-testid=do-release]")
            await self.became(browser, "deferred", lines=6)
            await browser.choose("[name=to]", "good")
            await browser.click("[data-testid=do-reroute]")
            await self.became(browser, "delivered")
            await browser.click("[data-testid=filter-delivered]")
            await browser.until(f"document.querySelector('[data-testid=\"msg-row-{name}\"]')")
            self.assertEqual(len([*(self.folder / "good" / "new").iterdir()]), 1)

        return self.at_the_page(story, "anna@bad.test")

    def test_deleted(self) -> None:
        """Only when it is pressed twice; with the box ticked the sender is told, without it nobody is."""

        async def story(browser: Browser) -> None:
            for told in (False, True):
                await self.opened(browser, int(told))
                if told:
                    await browser.click("[name=bounce]")
                await browser.click("[data-testid=do-delete]")
                await browser.says("really delete?")
                await browser.click("[data-testid=do-delete]")
                await browser.until("location.hash === '#/queue' && !document.querySelector('#detail h2')")
            await browser.says("Nothing waits")
            await browser.click("[data-testid=filter-deleted]")
            await browser.says("deleted by local: on the page")
            await browser.click("[data-testid=filter-delivered]")
            await browser.says("<> → app@example.org")
            (bounce,) = (self.folder / "good" / "new").iterdir()
            self.assertIn("<bob@bad.test>", bounce.read_text())

        return self.at_the_page(story, "anna@bad.test", "bob@bad.test")

    def test_a_provider_is_suspended(self) -> None:
        """For a time that is told; its mail waits, with the reason, until it is resumed beside the queue."""

        async def story(browser: Browser) -> None:
            await browser.click("[data-testid=view-providers]")
            await browser.choose("[name=name]", "good")
            await browser.choose("[name=span]", "for 2 hours")
            await browser.type("[name=why]", "maintenance")
            await browser.click("[data-testid=do-suspend]")
            await browser.says("suspended by local: maintenance, until ")
            name = await self.sent("anna@good.test")
            await browser.click("[data-testid=view-queue]")
            await browser.says(name)
            await browser.says("1 waiting, until ")
            await browser.click("[data-testid=do-resume-good]")
            await browser.says("Nothing waits")

        return self.at_the_page(story)

    def test_a_blocked_provider_is_tried(self) -> None:
        """Its line has the cause and a button; what the relay says to that stays on the page."""

        async def story(browser: Browser) -> None:
            await browser.click("[data-testid=view-providers]")
            await browser.choose("[name=name]", "bad")
            await browser.click("[data-testid=do-suspend]")
            await browser.says("suspended by local")
            await self.looks_away(browser)
            await self.asks("providers/bad/resume", {})
            await browser.click("[data-testid=do-resume-bad]")
            await browser.says("bad is not suspended")
            await self.looks_back(browser)
            asked = await browser.evaluate(ASKED)
            await browser.until(f"{ASKED} > {asked + 1}")
            self.assertIn("bad is not suspended", await browser.text())
            await browser.click("[data-testid=view-queue]")
            await browser.until("!document.body.innerText.includes('bad is not suspended')")

        return self.at_the_page(story)

    def test_rules(self) -> None:
        """A rule holds what comes in until it is ended; one that says nothing is refused in words."""

        async def story(browser: Browser) -> None:
            await browser.click("[data-testid=view-rules]")
            await browser.says("No rule holds mail.")
            await browser.click("[data-testid=do-rule]")
            await browser.says("a hold rule needs a sender, a recipient")
            await browser.type("[name=recipient]", "*@good.test")
            await browser.type("[name=why]", "incident")
            await browser.click("[data-testid=do-rule]")
            await browser.says("Mail to *@good.test")
            await self.sent("anna@good.test")
            await browser.says("1 held, until ")
            await browser.click("[data-testid=do-end-1]")
            await browser.says("No rule holds mail.")
            await browser.click("[data-testid=view-queue]")
            await browser.says("Nothing waits")

        return self.at_the_page(story)

    def test_refused_mail(self) -> None:
        """Each kind of refusal has a line with the setting that lets it in; cleared, it is gone."""

        async def story(browser: Browser) -> None:
            await browser.click("[data-testid=view-refused]")
            await browser.says("Nothing was refused.")
            talk = await self.relay.greet()
            for line in ("MAIL FROM:<a@x.test> SIZE=99999999", "MAIL FROM:<a@x.test> SIZE=99999999", "XYZZY"):
                await talk.say(line)
            await browser.says("listeners[lan].limits.size: set 99999999")
            for words in (
                "2 times",
                "from x.test",
                "127.0.0.1 at lan",
                "[size]",
                "[command]",
                "of 5 octets",
                "RFC 5321",
            ):
                await browser.says(words)
            await browser.type("[name=rule]", "size")
            await self.clears(browser)
            await browser.until("!document.body.innerText.includes('limits.size')")
            await browser.says("of 5 octets")
            await browser.until("document.querySelector('[data-testid=do-clear]').innerText == 'clear'")
            await self.clears(browser)
            await browser.says("Nothing was refused.")
            await talk.close()

        return self.at_the_page(story)

    async def clears(self, browser: Browser) -> None:
        """Press twice: what is cleared does not come back."""
        await browser.click("[data-testid=do-clear]")
        await browser.says("really clear?")
        await browser.says("of 5 octets")
        await browser.click("[data-testid=do-clear]")

    def test_a_provider_that_cannot_be_reached(self) -> None:
        """It is told above every view, with stage, host and since when."""

        async def story(browser: Browser) -> None:
            await self.relay.life.says(r'"provider\.failing"')
            await browser.says("bad cannot be reached: connect at 127.0.0.1:9: ")
            await browser.says(", since ")
            await browser.click("[data-testid=view-refused]")
            await browser.until("document.body.dataset.shown === '#/refused'")
            await browser.until("document.querySelector('[data-testid=attention-bad]')")

        return self.at_the_page(story, "anna@bad.test")

    def test_somebody_was_faster(self) -> None:
        """What cannot be done to a mail is told in words, which stay; and so is a relay that is gone."""

        async def story(browser: Browser) -> None:
            name = await self.opened(browser)
            await self.looks_away(browser)
            await self.asks("queue/delete", {"ids": [name]})
            await browser.click("[data-testid=do-hold]")
            await browser.says("not done: deleted already")
            await self.looks_back(browser)
            await self.relay.stop()
            await browser.says("NO ANSWER")
            await browser.says("no answer from the relay")

        return self.at_the_page(story, "anna@bad.test")

    def test_tokens(self) -> None:
        """A wrong token is refused in words; a viewer sees the queue without a button, an operator with.

        What one of them saw is gone from the page when the next token is asked for.
        """
        roles = ", ".join(
            f'{{name: {role}, hash: "{hash_password(role.encode(), bytes(16))}", role: {role}}}'
            for role in ("viewer", "operator")
        )

        async def story(browser: Browser) -> None:
            for token, words, buttons in (
                ("nonsense", "the token is wrong", 0),
                ("viewer", "anna@bad.test", 0),
                ("operator", "anna@bad.test", 1),
            ):
                await browser.until("!document.querySelector('#login').hidden")
                left = await browser.evaluate("document.querySelector('main').textContent.trim()")
                self.assertEqual(left, "", token)
                await browser.type("[name=token]", token)
                await browser.click("#login button")
                await browser.says(words)
                if token == "nonsense":
                    continue
                await browser.click(f"[data-testid='msg-row-{self.ids[0]}']")
                await browser.says("What happened")
                found = await browser.evaluate("document.querySelectorAll('[data-testid=do-hold]').length")
                self.assertEqual(found, buttons, token)
                await browser.evaluate(
                    "fetch('api/v1/logout', {method: 'POST', headers: {'X-Smtprelay-CSRF': '1'}})"
                )

        return self.at_the_page(story, "anna@bad.test", tokens=f", tokens: [{roles}]")
