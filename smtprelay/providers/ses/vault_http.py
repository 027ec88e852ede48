"""
How Vault is asked, and what is said of it if it does not answer: by requests, which hvac uses.

No text has a login of an address or a proxy in it, and no answer is read that is larger than Vault's are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized, VaultError
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL, RequestException

from smtprelay.http.client import NotSent, ProxyLoginFailed
from smtprelay.http.outcomes import in_print
from smtprelay.model.network import is_plain_remote
from smtprelay.net.tls_client import untrusted_words
from smtprelay.providers.ses.sources import VaultServer

#: What is said to us; other errors are Vault's own, and may pass.
_REFUSALS: Final = (Forbidden, InvalidPath, InvalidRequest, Unauthorized)
#: The only refusal that hvac has no name for.
_UNSUPPORTED: Final = "unsupported operation"
#: Maximum length of Vault's words in a reason.
_REPEATED: Final = 300
#: More octets of an answer are not read.
_MAX_ANSWER: Final = 256 * 1024
_MAX_REDIRECTS: Final = 5


class VaultSession(Session):
    """Follows a redirect, as a standby sends one, only to where secrets may go."""

    def __init__(self) -> None:
        super().__init__()
        # Otherwise requests itself looks for proxies, authorities and logins (~/.netrc).
        self.trust_env = False
        self.max_redirects = _MAX_REDIRECTS
        for scheme in ("https://", "http://"):
            self.mount(scheme, _BoundedTransport())

    def get_redirect_target(self, resp: Any) -> Any:
        """Return where a redirect leads, if ``resp`` is one; raises ``ValueError`` for what is not safe."""
        target = super().get_redirect_target(resp)
        if target and is_plain_remote(urljoin(resp.url, target)):
            there = place(urljoin(resp.url, target))
            raise ValueError(f"Vault: {place(resp.url)} sends us to {there}: http:// is for loopback only")
        return target


class _BoundedTransport(HTTPAdapter):
    def send(self, request: PreparedRequest, *arguments: Any, **options: Any) -> Response:
        """Send a request; read its answer up to a limit."""
        response = super().send(request, *arguments, **{**options, "stream": True})
        body = b""
        for chunk in response.iter_content(16 * 1024):
            body += chunk
            if len(body) > _MAX_ANSWER:
                response.close()
                raise RequestException("the answer is larger than any of Vault")
        response._content = body  # noqa: SLF001 -- requests has no other way
        return response


def place(url: str) -> str:
    """Return a URL as people may read it: scheme, host and port."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextmanager
def in_words(server: VaultServer) -> Iterator[None]:
    """Raise errors of hvac and requests as :class:`CredentialService` does, without what was sent."""
    try:
        yield
    except VaultError as error:
        text = f"Vault: {_words(error)}"
        if isinstance(error, _REFUSALS) or _UNSUPPORTED in text:
            raise ValueError(text) from None
        raise NotSent(text) from None
    except (InvalidURL, InvalidHeader, UnicodeError):
        text = "Vault: its address is none, or HTTP takes no such namespace or token"
        raise ValueError(text) from None
    except RequestException as error:
        raise _no_answer(server, _reason(error)) from None
    except (RecursionError, TypeError, AttributeError, LookupError):  # of hvac, which takes types for granted
        raise NotSent(
            f"Vault at {place(server.address)}: the answer makes no sense: is that a Vault?"
        ) from None


def _no_answer(server: VaultServer, reason: str) -> NotSent:
    """Return why there is none; a proxy between is named."""
    if "Tunnel connection failed: 407" in reason:
        return ProxyLoginFailed(f"Vault: the proxy {server.proxy} wants a login, or another one (407)")
    through = f" through the proxy {server.proxy}" if server.proxy else ""
    told = untrusted_words(reason, "vault.ca")
    return NotSent(f"Vault at {place(server.address)}{through} does not answer: {told}")


def _words(error: VaultError) -> str:
    """Return where it happened, and what Vault says."""
    body = error.json if isinstance(error.json, Mapping) else {}
    said = "; ".join(in_print(str(each)) for each in (*_listed(error.errors), *_listed(body.get("warnings"))))
    what = said or ("there is nothing" if isinstance(error, InvalidPath) else type(error).__name__)
    return f"{str(error.url).partition('/v1/')[2]}: {what[:_REPEATED]}"


def _listed(words: Any) -> list[Any]:
    return words if isinstance(words, list) else [words] if words else []


def _reason(error: Exception) -> str:
    """Return the cause that requests wraps."""
    inner = error.args[0] if error.args else error
    return in_print(str(getattr(inner, "reason", inner)))[:_REPEATED]
