"""
Somebody looks for a mail: the search box, the source, the download and the demo's captured mail, in Chromium.

Without Chromium these tests are skipped, and say so.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutput
from twisted.trial.unittest import TestCase

import smtprelay.web
from tests.interop.browser import CHROMIUM, MISSING, Browser
from tests.interop.test_clients import needs
from tests.process.conversation import Conversation
from tests.process.program import Program
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

CONFIG = """\
hostname: relay.test
listeners: [{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}]
providers:
  good: {type: capture, path: good}
  bad: {type: smarthost, host: 127.0.0.1, port: 9, tls: none}
http: [{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, dashboard, api]}]
spool: {path: spool}
routes:
  - {name: bad, match: {recipient: ["*@bad.test"]}, via: [bad], retry: {first: 1h, jitter: 0}}
  - {name: good, via: [good]}
bounces: {from: MAILER-DAEMON@relay.test, via: [good]}
"""

#: What a hostile mail would do if its source were not only text.
HOSTILE = b"<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

ROWS = "[...document.querySelectorAll('#list [data-testid^=msg-row-]')]"


class Looking(Stage):
    """What both kinds of relay need to be looked at."""

    async def looking(self, url: str, story: Callable[[Browser], Awaitable[None]]) -> None:
        browser = await Browser.start(f"{self.folder}/profile")
        try:
            await browser.go(url)
            await story(browser)
        finally:
            await browser.stop()

    async def search(self, browser: Browser, text: str) -> None:
        """Look for ``text``, which was not looked for last; return when the page shows what that finds."""
        before = await browser.evaluate("location.hash")
        await browser.click("[data-testid=search]")
        await browser.evaluate("document.querySelector('[data-testid=search]').select()")
        await browser.do("Input.insertText", text=text)
        await browser.press("Enter")
        await browser.until(f"location.hash !== {before!r} && document.body.dataset.shown === location.hash")

    async def rows(self, browser: Browser, count: int) -> list[str]:
        """Wait for so many rows of the list; return what they say."""
        return list(await browser.until(f"{ROWS}.length === {count} && {ROWS}.map((row) => row.innerText)"))


class SearchingTests(Looking, TestCase):
    if CHROMIUM is None:
        skip = MISSING

    def at_the_queue(self, story: Callable[[Browser], Awaitable[None]]) -> Deferred[None]:
        async def tell() -> None:
            self.relay = self.ending(RelayProcess(self.folder, CONFIG))
            await self.relay.start()
            waiting = b"Subject: Rechnung <b>7</b>\r\n\r\n" + HOSTILE + b"\r\n.5\r\n"
            reply = await self.relay.send(waiting, "anna@bad.test", sender="shop@example.org")
            self.waiting = reply.split()[-1]
            reply = await self.relay.send(b"Subject: Scan\r\n\r\nhello\r\n", "bob@good.test")
            self.delivered, self.reply = reply.split()[-1], reply
            await self.looking(f"{self.relay.http}/#/queue", story)

        return Deferred.fromCoroutine(tell())

    def test_any_state(self) -> None:
        """The id of the 250, a whole reply, a part of an address or the subject finds mail in any state."""

        async def story(browser: Browser) -> None:
            (row,) = await self.rows(browser, 1)
            self.assertIn(self.waiting, row)
            for text, found in (
                (self.delivered, self.delivered),
                (self.delivered[:12].lower(), self.delivered),
                (self.reply, self.delivered),
                (f"{self.waiting}.1", self.waiting),
                ("BOB@good", self.delivered),
                ("shop@", self.waiting),
                ("rechnung <b>", self.waiting),
            ):
                await self.search(browser, text)
                await browser.until(f"{ROWS}.length === 1 && {ROWS}[0].innerText.includes('{found}')")
            self.assertEqual(await browser.evaluate("document.querySelectorAll('#list b b').length"), 0)
            await self.search(browser, "nobody@nowhere")
            await browser.says("No mail in any state matches “nobody@nowhere”.")
            await browser.press("Escape")
            (row,) = await self.rows(browser, 1)
            self.assertIn(self.waiting, row)

        return self.at_the_queue(story)

    def test_keys(self) -> None:
        """A slash goes to the box; a search is in the URL, and its results lead to the mail and back."""

        async def story(browser: Browser) -> None:
            await self.rows(browser, 1)
            await browser.press("/")
            await browser.until("document.activeElement.name === 'q'")
            await browser.do("Input.insertText", text="scan")
            await browser.press("Enter")
            await browser.until("location.hash === '#/queue?q=scan'")
            await browser.until(f"{ROWS}.length === 1 && {ROWS}[0].innerText.includes('delivered')")
            await browser.click(f"[data-testid='msg-row-{self.delivered}.1']")
            await browser.says(f"accepted, queued as {self.delivered}")
            await browser.says("delivered #1 good")
            self.assertEqual(await browser.evaluate("location.hash"), f"#/queue/{self.delivered}.1?q=scan")
            self.assertEqual(
                await browser.evaluate("document.querySelector('[data-testid=search]').value"), "scan"
            )

        return self.at_the_queue(story)

    def test_the_source(self) -> None:
        """It is shown as text whatever it is, and downloaded as it is; the log says that it was read."""

        async def story(browser: Browser) -> None:
            await browser.click(f"[data-testid='msg-row-{self.waiting}.1']")
            await browser.click("[data-testid=tab-source]")
            await browser.says("onerror=")
            text = await browser.evaluate("document.querySelector('[data-testid=source]').textContent")
            self.assertIn(HOSTILE.decode(), text)
            self.assertRegex(text, rf"^Received: from [^;]+ id {self.waiting}")
            self.assertEqual(await browser.evaluate("document.title"), "smtprelay")
            self.assertEqual(await browser.evaluate("document.querySelectorAll('#detail pre *').length"), 0)
            folder = Path(self.folder) / "downloads"
            await browser.do("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
            await browser.click("[data-testid=download]")
            file = folder / f"{self.waiting}.eml"
            await browser.arrived(file)
            self.assertIn(b"\r\n\r\n" + HOSTILE + b"\r\n.5\r\n", file.read_bytes())
            self.assertEqual(file.read_bytes().decode(), text)
            await browser.click("[data-testid=tab-history]")
            await browser.says("What happened")

        return self.at_the_queue(story)

    def test_a_source_that_is_gone(self) -> None:
        """Delivered mail keeps its content only as long as the configuration says, which is told."""

        async def story(browser: Browser) -> None:
            await self.rows(browser, 1)
            await self.search(browser, self.delivered)
            await browser.click(f"[data-testid='msg-row-{self.delivered}.1']")
            await browser.click("[data-testid=tab-source]")
            await browser.says("spool.retention.bodies")

        return self.at_the_queue(story)


class CapturedTests(Looking, TestCase):
    """The demo, as a person has it."""

    if CHROMIUM is None:
        skip = MISSING

    def at_the_demo(self, story: Callable[[Browser], Awaitable[None]]) -> Deferred[None]:
        async def tell() -> None:
            ports = ["--smtp-port", "0", "--http-port", "0"]
            demo = Program.python(["-m", "smtprelay", "demo", *ports], self.folder)
            self.addCleanup(demo.stop)
            self.smtp = int((await demo.says(r"SMTP +127\.0\.0\.1:([0-9]+)"))[1])
            page = (await demo.says(r"Page +(http://127\.0\.0\.1:[0-9]+/)"))[1]
            await self.looking(page, story)

        return Deferred.fromCoroutine(tell())

    async def sent(self, content: bytes, recipient: str) -> str:
        """Send a mail to the demo; return its id."""
        talk = await Conversation.open(self.smtp)
        await talk.say("EHLO client.test")
        reply = await talk.mail(content, recipient, sender="app@example.org")
        await talk.close()
        return reply.split()[-1]

    def test_seen_at_once(self) -> None:
        """A mail is there with the id of its 250 as soon as the page asks again, unread until opened."""

        async def story(browser: Browser) -> None:
            await self.rows(browser, 1)
            name = await self.sent(b"Subject: Alarm\r\n\r\nfire\r\n", "anna@example.com")
            newest, _ = await self.rows(browser, 2)
            self.assertIn("Alarm", newest)
            await browser.says(name)
            await browser.until("document.querySelectorAll('#list .dot').length === 2")
            await browser.evaluate(f"{ROWS}[0].click()")
            await browser.says(f"Queued as\n{name}")
            await browser.until("document.querySelectorAll('#list .dot').length === 1")
            await browser.click("[data-testid=tab-source]")
            await browser.says("Subject: Alarm")
            size = await browser.evaluate("document.querySelector('[data-testid=source]').textContent.length")
            await browser.says(f"{size} B as it was sent, with the Received field that this relay adds")

        return self.at_the_demo(story)

    def test_searched_and_deleted(self) -> None:
        """The box finds captured mail, and leads to the queue for what is not there; deleting asks twice."""

        async def story(browser: Browser) -> None:
            await self.rows(browser, 1)
            name = await self.sent(b"Subject: Alarm\r\n\r\nfire\r\n", "anna@example.com")
            await self.rows(browser, 2)
            await browser.says(name)
            for text in (name, name.lower()[:10], "anna@", "alarm", "app@example"):
                await self.search(browser, text)
                (row,) = await self.rows(browser, 1)
                self.assertIn("Alarm", row, text)
            await browser.evaluate(f"{ROWS}[0].click()")
            await browser.click("[data-testid=do-delete]")
            await browser.says("really delete?")
            await browser.click("[data-testid=do-delete]")
            await browser.until("document.body.dataset.shown === '#/mail'")
            (row,) = await self.rows(browser, 1)
            self.assertIn("Welcome", row)
            await self.search(browser, name)
            await browser.says(f"No captured mail matches “{name}”.")
            await browser.click("#list .empty a")
            (row,) = await self.rows(browser, 1)
            self.assertIn("delivered", row)
            await browser.click("[data-testid=view-mail]")
            await browser.click("[data-testid=do-delete-all]")
            await browser.click("[data-testid=do-delete-all]")
            await browser.says("No captured mail.")

        return self.at_the_demo(story)


class QuotedTests(TestCase):
    """The command that a search which was cut short is told with."""

    @needs("node")
    async def test_one_word_of_a_shell(self) -> None:
        """Whatever a link looks for, the shell takes it as the text, and runs nothing of it."""
        module = Path(smtprelay.web.__file__).parent / "static" / "search.js"
        for text in (
            "it's",
            '"; touch owned; "',
            "$(touch owned)`touch owned`",
            "'; touch owned; '",
            "\\'",
            "-x",
        ):
            script = f"{module.read_text()}; process.stdout.write(quoted(process.argv[1]));"
            word = await getProcessOutput("node", ["--input-type=module", "-e", script, "--", text], env=None)
            said = await getProcessOutput("/bin/sh", ["-c", f"printf %s {word.decode()}"], env=None)
            self.assertEqual(said.decode(), text)
        self.assertFalse(Path("owned").exists())
