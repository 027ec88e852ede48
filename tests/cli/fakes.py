"""A relay for the commands to talk to, and a way to run a command as a shell would."""

import io
import json
import os
import socketserver
import sys
import threading
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli import main


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class CommandCase(SynchronousTestCase):
    """Runs commands in this process, away from the environment's own relay."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        for name in ("SMTPRELAY_ENDPOINT", "SMTPRELAY_CONFIG", "RUNTIME_DIRECTORY", "NO_COLOR"):
            self._forget(name)

    def _forget(self, name: str) -> None:
        before = os.environ.pop(name, None)
        if before is not None:
            self.addCleanup(os.environ.__setitem__, name, before)

    def run_command(self, *argv: str, stdin: io.StringIO | str = "") -> Ran:
        """Run ``smtprelay argv`` with ``stdin`` and return what came of it."""
        # With bytes below, for what is no text.
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", newline=""), io.StringIO()
        # How people are told to run it again, unless it is on the PATH.
        self.patch(sys, "argv", ["smtprelay", *argv])
        self.patch(sys, "stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        with redirect_stdout(out), redirect_stderr(err):
            status = main(argv)
        out.flush()
        return Ran(status, out.buffer.getvalue().decode(), err.getvalue())


class Asked(NamedTuple):
    """One request that the relay got."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


class FakeRelay:
    """
    Answers ``{"METHOD /path": (status, JSON)}`` on a UNIX socket, or on a port of loopback.

    Anything else is 404. ``asked`` keeps the requests.

    :param missing: so many bytes of each answer are announced and do not come.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        answers: Mapping[str, tuple[int, Any]],
        *,
        tcp: bool = False,
        missing: int = 0,
    ) -> None:
        self.asked: list[Asked] = []
        self._missing = missing
        relay = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                relay._answer(self, answers)

            do_POST = do_GET  # noqa: N815 -- http.server's name

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        if tcp:
            self._server = socketserver.TCPServer(("127.0.0.1", 0), Page)
            self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        else:
            # A relative path: the absolute one of a test's folder is too long for a socket.
            self.endpoint = case.mktemp()
            self._server = socketserver.UnixStreamServer(self.endpoint, Page)
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        case.addCleanup(self._server.server_close)
        case.addCleanup(thread.join)
        case.addCleanup(self._server.shutdown)

    def _answer(self, page: BaseHTTPRequestHandler, answers: Mapping[str, tuple[int, Any]]) -> None:
        url = urlsplit(page.path)
        content = page.rfile.read(int(page.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        self.asked.append(Asked(page.command, url.path, parse_qs(url.query), dict(page.headers), body))
        status, answer = answers.get(f"{page.command} {url.path}", (404, {"error": "no such page"}))
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        page.send_response(status)
        page.send_header("Content-Length", str(len(raw) + self._missing))
        page.end_headers()
        page.wfile.write(raw)


def data_of(out: str) -> Any:
    """Return what a command has found, from what it printed with ``-o json``."""
    return json.loads(out)["data"]


def summary(**changes: Any) -> dict[str, Any]:
    """Return one line of the queue as the API gives it."""
    return {
        "id": "7QK2-9FMD.1",
        "message": "7QK2-9FMD",
        "state": "deferred",
        "sender": "scan@example.com",
        "recipients": [
            {"address": "bob@example.com", "state": "delivered", "reason": "", "provider_id": "op-1"},
            {"address": "anna@example.com", "state": "open", "reason": "429 throttled", "provider_id": ""},
        ],
        "attempts": 5,
        "size": 2_200_000,
        "subject": "Scan",
        "received": 1_800_000_000.0,
        "due": 1_800_000_900.0,
        "route": "printers",
        "provider": "acs",
        "lane": "",
        "reason": "429 throttled",
        "waiting_for": "",
        "try_now": "",
        "uncertain": False,
        "ended": None,
        **changes,
    }


def queue_of(*deliveries: dict[str, Any], lanes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return the answer to ``GET /queue``."""
    return {
        "deliveries": list(deliveries),
        "lanes": list(lanes),
        "mark": "",
        "partial": False,
    }


def step(*ids: str, **changes: Any) -> dict[str, Any]:
    """Return the answer to one step of a change."""
    return {"count": len(ids), "ids": list(ids), "left": {}, "mark": "", **changes}


def lane(**changes: Any) -> dict[str, Any]:
    """Return a lane as the API gives it."""
    return {
        "provider": "acs",
        "lane": "",
        "waiting": 12,
        "active": 0,
        "due": None,
        "blocked_until": None,
        "blocked_reason": "",
        "state": "ok",
        "resumes": None,
        **changes,
    }
