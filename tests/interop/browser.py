"""
A real Chromium that a test looks through and clicks in, over the pipe of its debugging protocol.

What a person does is done by the browser's own input: a button that something covers cannot be
pressed, and what is typed goes where the cursor is.
"""

import base64
import json
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

MISSING = "CHROMIUM IS MISSING: the page was not tested in a browser (apt-get install chromium)"

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    " --disable-sync --no-first-run --no-proxy-server --remote-debugging-pipe"
)

#: Seconds that anything may take on a machine that is busy with other things.
PATIENCE = 60
#: How often a press is tried that does not reach what it is meant for.
_PRESSES = 20

#: Resolves when an expression becomes true, with its value; fails after ``seconds``.
_WAIT = """new Promise((resolve, reject) => {{
    const end = Date.now() + 1000 * {seconds};
    (function look() {{
        let value = false;
        try {{ value = {expression}; }} catch (error) {{ value = false; }}
        if (value) resolve(value);
        else if (Date.now() > end) reject(new Error("in vain: " + document.body.innerText));
        else setTimeout(look, 20);
    }})();
}})"""

_CENTER = """(() => {{
    const found = {element};
    if (!found || found.disabled) return null;
    found.scrollIntoView({{block: "center"}});
    const {{x, y, width, height}} = found.getBoundingClientRect();
    return width && height ? {{x: x + width / 2, y: y + height / 2}} : null;
}})()"""


#: Notes whether the next press reaches what it is meant for; if that has moved, the press does nothing.
_AIM = """(() => {{
    document.removeEventListener("click", window.aim, true);
    window.reached = false;
    window.aim = (event) => {{
        window.reached = event.target.closest({selector}) !== null;
        if (!window.reached) {{ event.preventDefault(); event.stopPropagation(); }}
    }};
    document.addEventListener("click", window.aim, {{capture: true, once: true}});
}})()"""


class Refused(Exception):  # noqa: N818 -- the browser's answer
    """What the browser says when it cannot do something."""


class Pipe(ProcessProtocol):
    """The browser's process; each message ends with a NUL."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._numbers = count(1)
        self._asked: dict[int, Deferred[Any]] = {}
        self._rest = b""

    def ask(self, method: str, parameters: Mapping[str, Any], session: str = "") -> Deferred[Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._asked[number] = Deferred()
        self.transport.writeToChild(3, json.dumps(message).encode() + b"\0")
        return self._asked[number]

    def childDataReceived(self, fd: int, data: bytes) -> None:
        if fd != 4:
            return
        *messages, self._rest = (self._rest + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" not in message:
                continue
            waiting = self._asked.pop(message["id"])
            if "error" in message:
                waiting.errback(Refused(message["error"]["message"]))
            else:
                waiting.callback(message["result"])

    def processEnded(self, _reason: object) -> None:
        for waiting in self._asked.values():
            waiting.errback(Refused("the browser has ended"))
        self.ended.callback(None)


class Browser:
    """One tab."""

    def __init__(self, pipe: Pipe, session: str) -> None:
        self._pipe = pipe
        self._session = session

    @classmethod
    async def start(cls, profile: str) -> "Browser":
        """Start a browser with a ``profile`` of its own."""
        pipe = Pipe()
        command = [CHROMIUM, *OPTIONS.split(), f"--user-data-dir={profile}"]
        fds = {0: "w", 1: "r", 2: "r", 3: "w", 4: "r"}
        reactor.spawnProcess(pipe, CHROMIUM, command, env=None, childFDs=fds)
        tab = await pipe.ask("Target.createTarget", {"url": "about:blank"})
        attached = await pipe.ask("Target.attachToTarget", {"targetId": tab["targetId"], "flatten": True})
        browser = cls(pipe, attached["sessionId"])
        await browser.size(1280, 800)
        return browser

    async def stop(self) -> None:
        """End it."""
        self._pipe.ask("Browser.close", {}).addErrback(lambda _: None)
        await self._pipe.ended

    async def do(self, method: str, **parameters: Any) -> Any:
        """Send one command."""
        return await self._pipe.ask(method, parameters, self._session)

    async def go(self, url: str) -> None:
        """Open ``url``."""
        await self.do("Page.navigate", url=url)

    async def size(self, width: int, height: int) -> None:
        """Make the window as large."""
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of the page."""
        answer = await self.do(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise Refused(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return the value of ``expression`` when it is true."""
        return await self.evaluate(_WAIT.format(expression=expression, seconds=PATIENCE))

    async def says(self, text: str) -> None:
        """Wait until ``text`` can be read on the page."""
        await self.until(f"document.body.innerText.includes({json.dumps(text)})")

    async def text(self) -> str:
        """Return what can be read on the page."""
        return await self.evaluate("document.body.innerText")

    async def click(self, selector: str) -> None:
        """Press what ``selector`` finds first, when it is there and enabled; again if it moves away."""
        for _ in range(_PRESSES):
            place = await self.place(selector)
            await self.evaluate(_AIM.format(selector=json.dumps(selector)))
            await self.mouse("mousePressed", place)
            await self.mouse("mouseReleased", place)
            if await self.evaluate("window.reached"):
                return
        raise AssertionError(f"something is over {selector}: {await self.text()}")

    async def place(self, selector: str) -> Mapping[str, float]:
        """Return the middle of what ``selector`` finds first, when it is there and enabled."""
        element = f"document.querySelector({json.dumps(selector)})"
        return await self.until(_CENTER.format(element=element))

    async def mouse(self, kind: str, place: Mapping[str, float]) -> None:
        """Do one thing with the left button of the mouse."""
        await self.do("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def type(self, selector: str, text: str) -> None:
        """Write ``text`` into the field that ``selector`` finds."""
        await self.click(selector)
        await self.do("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key of the keyboard, where the cursor is."""
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "/": (191, "/")}
        code, text = codes[key]
        down = {"text": text} if text else {}
        await self.do("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **down)
        await self.do("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def arrived(self, file: Path) -> None:
        """Wait until a download has its name."""
        for _ in range(50 * PATIENCE):
            if file.exists():
                return
            await self.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")
        raise AssertionError(f"{file} was not downloaded: {sorted(file.parent.glob('*'))}")

    async def choose(self, selector: str, value: str) -> None:
        """Choose ``value`` in a list."""
        element = f"document.querySelector({json.dumps(selector)})"
        await self.until(
            f"({element}.value = {json.dumps(value)}, {element}.dispatchEvent(new Event('change')),"
            f" {element}.value === {json.dumps(value)})"
        )

    async def picture(self, path: Path) -> None:
        """Keep what the window shows as a PNG."""
        shown = await self.do("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(shown["data"]))
