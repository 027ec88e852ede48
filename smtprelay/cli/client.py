"""
Asks the running relay: HTTP over its control socket, or over a URL.

Standard library only: a container's health check runs this every few seconds.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

from smtprelay.cli.exit_codes import CONFIG, FAILED, PERMISSION, TEMPFAIL, UNAVAILABLE, USAGE, CliError

#: A long answer is read in pieces of this size, bytes.
_PIECE: Final = 256 * 1024

_STATUS_OF: Final[dict[int, int]] = {
    http.client.UNAUTHORIZED: PERMISSION,
    http.client.FORBIDDEN: PERMISSION,
    http.client.UNPROCESSABLE_ENTITY: CONFIG,
    http.client.TOO_MANY_REQUESTS: TEMPFAIL,
    http.client.SERVICE_UNAVAILABLE: TEMPFAIL,
}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ApiClient:
    """
    The API of one relay.

    :param endpoint: the path of a UNIX socket, also with ``unix:`` in front, or an ``http(s)://`` URL.
    :param token: the bearer token, or ``""``.
    :param timeout: time limit of each network operation, seconds.
    :ivar running: a relay answers.
    :ivar delivers: a relay, perhaps another one, may be delivering the mail.
    """

    running = True
    delivers = True

    def __init__(self, endpoint: str, token: str = "", timeout: float = 30.0) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._headers = {"Accept": "application/json", "Connection": "close", "X-Smtprelay-CSRF": "1"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    @property
    def local(self) -> bool:
        """Whether the endpoint is a socket of this machine."""
        return not self.endpoint.startswith(("http://", "https://"))

    def listening(self) -> bool:
        """Return whether the endpoint accepts connections; ``True`` too if this user may not know."""
        connection = self._connection()
        try:
            connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
        finally:
            connection.close()
        return True

    def get(self, path: str, query: Mapping[str, str | Sequence[str]] | None = None) -> Any:
        """Return the JSON at ``path``; raises :class:`CliError`, with 69 if there is no answer."""
        parameters = urlencode(query or {}, doseq=True)
        return self._json("GET", f"{path}?{parameters}" if parameters else path)

    def post(self, path: str, body: object, invalid: int = FAILED) -> Any:
        """
        Post ``body``, bytes or a value for JSON, and return the answer's JSON; raises as :meth:`get`.

        :param invalid: the exit status if the relay answers 400.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._json("POST", path, content, invalid)

    def _json(self, method: str, path: str, body: bytes | None = None, invalid: int = FAILED) -> Any:
        code, content = self.request(method, path, body)
        answer = _parsed(content)
        if code == http.client.OK and answer:
            return answer
        return self.refuse(code, content, invalid)

    def refuse(self, code: int, content: bytes, invalid: int = FAILED) -> NoReturn:
        """Raise :class:`CliError` for an answer that is an error; ``invalid`` as in :meth:`post`."""
        answer = _parsed(content)
        reason = http.client.responses.get(code, "an unknown status")
        words = answer.get("error") if isinstance(answer, dict) else None
        sentence = words or f"{self.endpoint}: the relay answered {code} {reason}"
        status = invalid if code == http.client.BAD_REQUEST else _STATUS_OF.get(code, FAILED)
        raise CliError(status, sentence)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and the content of any answer; raises as :meth:`get`."""
        with self._asking(method, path, body) as response:
            return response.status, response.read()

    def pieces(self, path: str) -> Iterator[bytes]:
        """Give the content at ``path`` as it arrives; raises as :meth:`get`, also if it ends too early."""
        with self._asking("GET", path, None) as response:
            if response.status != http.client.OK:
                self.refuse(response.status, response.read())
            left = response.length
            while piece := response.read(_PIECE):
                yield piece
                left = None if left is None else left - len(piece)
            if left:
                raise CliError(
                    UNAVAILABLE, f"{self.endpoint}: {left} bytes of the relay's answer are missing. Try again"
                )

    @contextmanager
    def _asking(self, method: str, path: str, body: bytes | None) -> Iterator[http.client.HTTPResponse]:
        """Send a request and give its answer."""
        connection = self._connection()
        headers = self._headers
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            yield connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise CliError(
                UNAVAILABLE,
                f"the relay is not running: nothing answers at {self.endpoint}. Start it, or name another"
                " socket or URL with --endpoint (the old one if spool.path or control_socket was changed)",
            ) from error
        except PermissionError as error:
            raise CliError(
                PERMISSION,
                f"{self.endpoint}: permission denied. Be the relay's user, in the socket's group, or root",
            ) from error
        except TimeoutError as error:
            raise CliError(
                UNAVAILABLE, f"{self.endpoint}: no answer in {self._timeout:g} s. The relay's log may say why"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if type(error) is http.client.BadStatusLine:
                why = f"that is no relay's API, it says {why.strip()!r}"
            raise CliError(UNAVAILABLE, f"{self.endpoint}: no answer: {why}") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.local:
            path = self.endpoint.removeprefix("unix:")
            if "://" in path:
                raise CliError(USAGE, f"{path}: expected the path of a socket, or http://host:port")
            if ":" in path and "/" not in path:
                raise CliError(USAGE, f"{path}: expected the path of a socket, or http://{path}")
            return _UnixConnection(path, self._timeout)
        try:
            url = urlsplit(self.endpoint)
            host, port = url.hostname or "", url.port
            host.encode("idna")
        except UnicodeError:
            host = ""  # no name can be like this
        except ValueError as error:
            raise CliError(USAGE, f"{self.endpoint}: {error}") from error
        if not host or url.path.strip("/"):
            raise CliError(USAGE, f"{self.endpoint}: expected http://host:port or https://host:port")
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(host, port, timeout=self._timeout)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return {}
