import os
import socket
from pathlib import Path

from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import CliError
from tests.cli.fakes import CommandCase, FakeRelay
from tests.cli.smtpd import FakeServer


class ClientTests(CommandCase):
    def fails(self, client: ApiClient) -> CliError:
        return self.assertRaises(CliError, client.get, "/x")

    def answering(self, status: int, answer: object) -> ApiClient:
        return ApiClient(FakeRelay(self, {"GET /x": (status, answer)}).endpoint)

    def test_socket_and_url(self) -> None:
        """A socket's path, with or without ``unix:``, and a URL all reach the relay."""
        local = FakeRelay(self, {"GET /x": (200, {"a": 1})})
        remote = FakeRelay(self, {"GET /x": (200, {"a": 2})}, tcp=True)
        self.assertEqual(ApiClient(local.endpoint).get("/x"), {"a": 1})
        self.assertEqual(ApiClient(f"unix:{local.endpoint}").get("/x"), {"a": 1})
        self.assertEqual(ApiClient(remote.endpoint).get("/x"), {"a": 2})

    def test_token(self) -> None:
        """A token goes out as a bearer token; without one there is no such header."""
        relay = FakeRelay(self, {"GET /x": (200, {"a": 1})})
        ApiClient(relay.endpoint, "s3cret").get("/x")
        ApiClient(relay.endpoint).get("/x")
        sent = [asked.headers.get("Authorization") for asked in relay.asked]
        self.assertEqual(sent, ["Bearer s3cret", None])

    def test_statuses(self) -> None:
        """What the relay refuses becomes its sentence and the exit status that fits."""
        wanted = {400: 1, 401: 77, 403: 77, 404: 1, 429: 75, 500: 1, 503: 75}
        for code, status in wanted.items():
            error = self.fails(self.answering(code, {"error": f"because {code}"}))
            self.assertEqual((error.status, str(error)), (status, f"because {code}"))

    def test_no_json(self) -> None:
        """An answer that is no JSON, or not ours, is named by its status."""
        self.assertIn("500 Internal Server Error", str(self.fails(self.answering(500, b"<html>"))))
        self.assertIn("200 OK", str(self.fails(self.answering(200, b"<html>"))))
        self.assertIn("404 Not Found", str(self.fails(self.answering(404, ["a list"]))))

    def test_what_is_long(self) -> None:
        """It comes in pieces; a refusal is a sentence, and an end that is missing is told: exit 69."""
        whole = b"x" * 600_000
        relay = FakeRelay(self, {"GET /x": (200, whole), "GET /y": (404, {"error": "it is gone"})})
        pieces = list(ApiClient(relay.endpoint).pieces("/x"))
        self.assertEqual((b"".join(pieces), len(pieces)), (whole, 3))
        self.assertEqual(
            str(self.assertRaises(CliError, list, ApiClient(relay.endpoint).pieces("/y"))), "it is gone"
        )
        cut = ApiClient(FakeRelay(self, {"GET /x": (200, whole)}, missing=10).endpoint).pieces("/x")
        error = self.assertRaises(CliError, list, cut)
        self.assertEqual(
            (error.status, "10 bytes of the relay's answer are missing" in str(error)), (69, True)
        )

    def test_nobody(self) -> None:
        """No socket, or one that nobody listens at, is exit 69 and not listening."""
        missing = ApiClient(self.mktemp())
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        for client in (missing, ApiClient(path)):
            self.assertEqual(self.fails(client).status, 69)
            self.assertIn("not running", str(self.fails(client)))
            self.assertFalse(client.listening())

    def test_hangs_up(self) -> None:
        """A relay that hangs up, or does not answer in time, is exit 69 in words."""
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(path)
            silent.listen()
            error = self.fails(ApiClient(path, timeout=0.05))
        self.assertEqual(
            (error.status, str(error)), (69, f"{path}: no answer in 0.05 s. The relay's log may say why")
        )

    def test_not_ours_to_open(self) -> None:
        """A socket that we may not open is exit 77, and it counts as listening."""
        folder = Path(self.mktemp())
        folder.mkdir()
        if os.geteuid() == 0:
            client = _Denied(str(folder / "sock"))
        else:
            folder.chmod(0)
            self.addCleanup(folder.chmod, 0o700)
            client = ApiClient(str(folder / "sock"))
        self.assertEqual(self.fails(client).status, 77)
        self.assertTrue(client.listening())

    def test_bad_urls(self) -> None:
        """A URL that cannot be one is an error of usage."""
        for url in (
            "http://",
            "http://h:x",
            "http://h/path",
            "https://:1",
            "http://[::1",
            "http://a..b",
            "ftp://x",
        ):
            self.assertEqual(self.fails(ApiClient(url)).status, 2, url)

    def test_no_api(self) -> None:
        """What is no HTTP is shown, and said to be no relay's API."""
        error = self.fails(ApiClient(f"http://{FakeServer(self).address}"))
        self.assertEqual(error.status, 69)
        self.assertIn("no answer: that is no relay's API, it says '220 ", str(error))

    def test_a_host_is_no_socket(self) -> None:
        """A host and port without http:// are an error of usage that says how to write them."""
        error = self.fails(ApiClient("localhost:8080"))
        self.assertEqual((error.status, str(error)[-21:]), (2, "http://localhost:8080"))


class _Denied(ApiClient):
    """root may open everything, so for root the refusal is made."""

    def _connection(self):
        connection = super()._connection()

        def connect() -> None:
            raise PermissionError(13, "Permission denied")

        connection.connect = connect
        return connection
