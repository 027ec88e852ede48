"""
The page in a real Chromium: what a person sees, and what a hostile mail cannot do.

Without Chromium these tests are skipped, and say so.
"""

from collections.abc import Awaitable, Callable

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from smtprelay.model.queue_admin import Found
from smtprelay.smtp.refusals import Refusals
from smtprelay.web.auth import Access, Token
from smtprelay.web.context import Operations, Sources
from smtprelay.web.site import build_site
from tests.interop.browser import CHROMIUM, MISSING, Browser
from tests.recording import Recording
from tests.web.asking import MAIL, SUMMARY, FakeCapturedMail, FakeRelay, FakeSpool

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --no-proxy-server --virtual-time-budget=5000 --dump-dom"
)

HOSTILE = """<html><head><meta http-equiv="refresh" content="0;url={canary}/refresh"><base href="{canary}/">
<link rel="preconnect" href="{canary}/"><link rel="stylesheet" href="{canary}/style">
<link rel="prefetch" href="{canary}/prefetch"></head>
<body background="{canary}/background" onload="parent.document.title='owned'">
<img src="{canary}/image" onerror="parent.document.title='owned'"><iframe src="{canary}/frame"></iframe>
<svg onload="parent.document.title='owned'"><image href="{canary}/svg"/></svg>
<object data="{canary}/object"></object>
<style>@import "{canary}/import"; p {{ background: url({canary}/css) }}</style>
<script>parent.document.title = "owned"; fetch("{canary}/fetch"); top.location = "{canary}/top"</script>
<form action="{canary}/form"><input autofocus onfocus="parent.document.title='owned'"></form>
<p>hello</p></body></html>"""


class Canary(Protocol):
    """Notes whoever connects, and what for."""

    def connectionMade(self):
        self.factory.visitors.append(b"a connection")

    def dataReceived(self, data: bytes):
        self.factory.visitors.append(data.partition(b"\r\n")[0])
        self.transport.loseConnection()


class PageInChromiumTests(TestCase):
    timeout = 300
    if CHROMIUM is None:
        skip = MISSING

    def setUp(self):
        self.captured = FakeCapturedMail()
        self.spool = FakeSpool()
        self.events = Recording()

    def serve(self, **access: object) -> str:
        """Serve the page on a free port and return its URL."""
        sources = Sources(
            relay=FakeRelay(since=reactor.seconds(), checks={"spool": None}),
            clock=reactor,
            events=self.events,
            spool=self.spool,
            refusals=Refusals(reactor, self.events),
            operations=Operations(lanes=self.spool.admin),
            captured=self.captured,
        )
        return self.listen(build_site(["api", "dashboard"], sources, Access(reactor, **access)))

    def listen(self, factory: Factory) -> str:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def dom(self, url: str) -> str:
        """Return the page's DOM as Chromium has it after a while."""
        profile = f"--user-data-dir={self.mktemp()}"
        out, err, code = await getProcessOutputAndValue(CHROMIUM, [*OPTIONS.split(), profile, url])
        self.assertEqual(code, 0, err.decode(errors="replace"))
        return out.decode()

    async def at_the_queue(self, story: Callable[[Browser], Awaitable[None]]) -> None:
        """Tell ``story`` with a browser that shows the queue."""
        browser = await Browser.start(self.mktemp())
        try:
            await browser.go(f"{self.serve()}/#/queue")
            await story(browser)
        finally:
            await browser.stop()

    def test_a_mail_is_shown(self):
        """The list, the badge, and the mail that the URL names, with its blind recipient."""

        async def look() -> None:
            dom = await self.dom(f"{self.serve()}/#/mail/op-1/text")
            for sign in (
                'data-testid="msg-row-op-1"',
                ">READY<",
                "see the picture",
                "blind@example.com",
                "pic.png",
            ):
                self.assertIn(sign, dom)

        return Deferred.fromCoroutine(look())

    def test_the_queue_is_shown(self):
        """Each delivery with its last error, and the lane that is blocked with its reason."""

        async def look() -> None:
            dom = await self.dom(f"{self.serve()}/#/queue/7QK29FMD.1")
            for sign in (
                'data-testid="msg-row-7QK29FMD.1"',
                "429 throttled",
                "the client secret has expired",
                'data-testid="timeline-item"',
                'data-testid="do-retry"',
            ):
                self.assertIn(sign, dom)

        return Deferred.fromCoroutine(look())

    def test_the_queue_is_filtered(self):
        """What is over is looked at by a filter, and what may be done depends on the state."""

        async def look() -> None:
            dom = await self.dom(f"{self.serve()}/#/queue:failed/7QK29FMD.1")
            for sign in (
                'href="#/queue:failed/7QK29FMD.1"',
                'data-testid="filter-delivered"',
                'data-testid="do-reroute"',
                "send the sender a bounce",
            ):
                self.assertIn(sign, dom)
            self.assertNotIn('data-testid="do-release"', dom)

        return Deferred.fromCoroutine(look())

    def test_the_search_box_works_as_soon_as_it_is_there(self):
        """What is typed while the relay has not answered yet is looked for; the page is not loaded anew."""
        answering = Deferred()

        search = self.spool.admin.search

        async def slowly(*asked: object) -> Found:
            await answering
            return await search(*asked)

        self.spool.admin.search = slowly

        async def story(browser: Browser) -> None:
            await browser.type("[data-testid=search]", "scan")
            await browser.press("Enter")
            await browser.until("location.hash === '#/queue?q=scan'")
            answering.callback(None)
            await browser.until("document.body.dataset.shown === location.hash")
            self.assertEqual(await browser.evaluate("location.search"), "")

        return Deferred.fromCoroutine(self.at_the_queue(story))

    def test_a_press_is_not_lost(self):
        """What is pressed stays under the pointer until that is released, though the relay has news."""
        names = "['status', 'captured', 'queue', 'queue']"
        news = (
            f"{names}.reduce(async (before, name) => (await before, await fetch(`api/v1/${{name}}`)), null)"
        )

        async def story(browser: Browser) -> None:
            place = await browser.place("[data-testid='msg-row-7QK29FMD.1']")
            await browser.mouse("mousePressed", place)
            self.spool.lines = [evolve(SUMMARY, attempts=6)]
            # As often as the page asks for it, and once more.
            await browser.evaluate(f"dispatchEvent(new Event('hashchange')), {news}")
            await browser.mouse("mouseReleased", place)
            await browser.until("location.hash === '#/queue/7QK29FMD.1'")
            await browser.says("6 attempts")

        return Deferred.fromCoroutine(self.at_the_queue(story))

    def test_a_hostile_mail_reaches_nothing(self):
        """No script runs and no request leaves, whatever its HTML tries."""
        factory = Factory.forProtocol(Canary)
        factory.visitors = []

        async def look() -> None:
            canary = self.listen(factory)
            mail = evolve(MAIL, html=HOSTILE.format(canary=canary), subject="<img src=x onerror=alert(1)>")
            self.captured.get = lambda _id: mail
            self.captured.list = lambda: [mail]
            dom = await self.dom(f"{self.serve()}/#/mail/op-1/html")
            self.assertIn('data-testid="preview-frame"', dom)
            self.assertIn("<title>smtprelay</title>", dom)
            self.assertIn("&lt;img src=x onerror=alert(1)&gt;", dom)
            paths = [told["path"] for told in self.events.of("http.request")]
            self.assertIn("/api/v1/captured/op-1/html", paths)
            self.assertEqual(factory.visitors, [])

        return Deferred.fromCoroutine(look())

    def test_a_token_in_the_link_opens_the_page(self):
        """Without it there is a form and no mail."""

        async def verify(password: str, hashed: str) -> bool:
            return password == hashed

        async def look() -> None:
            url = self.serve(tokens=[Token(name="ops", hash="open/sesame", role="operator")], verify=verify)
            closed = await self.dom(f"{url}/")
            self.assertNotIn("msg-row", closed)
            self.assertIn('data-testid="login-form">', closed)
            self.assertIn('data-testid="msg-row-op-1"', await self.dom(f"{url}/#token=open/sesame"))
            # What is in a query is in the logs of proxies, so it must not become a habit.
            self.assertNotIn("msg-row", await self.dom(f"{url}/?token=open/sesame"))

        return Deferred.fromCoroutine(look())
