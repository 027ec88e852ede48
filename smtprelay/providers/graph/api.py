"""
One request to Graph, with the token of the application, and what its refusals mean for the mail.
"""

from typing import Final
from urllib.parse import quote

from attrs import evolve

from smtprelay.http.client import Response
from smtprelay.http.upload import RequestBody
from smtprelay.model.outcome import Deferred, Delivered, Outcome, Throttled, Uncertain
from smtprelay.providers.call import Caller
from smtprelay.providers.graph.errors import QUOTA_PAUSE, error_of

TEXT: Final = "text/plain"
JSON: Final = "application/json"

ACCEPTED: Final = 202
_NOT_FOUND: Final = 404
#: Maximum length of an answer in a reason.
_REPEATED: Final = 200


class GraphApi:
    """
    The API as one application sees it.

    :param url: where its version begins, without a slash at the end.
    :ivar url: the same.
    """

    def __init__(self, caller: Caller[str], url: str) -> None:
        self.caller = caller
        self.url = url

    async def ask(
        self,
        operation: str,
        request: str,
        *,
        body: bytes | RequestBody = b"",
        kind: str = JSON,
        request_id: str = "",
    ) -> Response:
        """
        Send one request; after a 401 once more, with a new token.

        :param request: method and path, behind ``url``.
        :param request_id: Graph and its support know the request by it.
        :raises NoAnswerError: of :mod:`smtprelay.http.client`.
        """
        method, _, path = request.partition(" ")

        async def send(token: str) -> Response:
            headers = {"Authorization": f"Bearer {token}", "return-client-request-id": "true"}
            if request_id:
                headers["client-request-id"] = request_id
            if method != "GET":
                headers["Content-Type"] = kind
            return await self.caller.request(operation, method, self.url + path, headers, body)

        return await self.caller.call(send)

    def refused(self, answer: Response, lane: str) -> Outcome:
        """Return what an answer means that is no success; it concerns ``lane`` only."""
        error = error_of(answer.body)
        known = answer.header("request-id")
        # A proxy answers without one.
        trace = f" (request-id {known})" if known else ""
        if answer.status < 300:  # noqa: PLR2004 -- of all successes only one means that the mail was taken
            return Deferred(f"{answer.status} and not {ACCEPTED}: Graph did not take the mail{trace}")
        text = error.message or answer.body[:_REPEATED].decode("utf-8", "replace")
        table = error.table(answer.status)
        outcome = self.caller.refused(answer, table, error.code, f"{text}{trace}", lane=lane)
        if error.about_quota and isinstance(outcome, Throttled) and outcome.retry_after is None:
            return evolve(outcome, retry_after=QUOTA_PAUSE)
        return outcome


def mailbox_path(mailbox: str) -> str:
    """Return the path of a mailbox, percent-encoded."""
    return f"/users/{quote(mailbox, safe='@')}"


def is_gone(answer: Response) -> bool:
    """Tell whether an answer says that there is no such mailbox."""
    return answer.status == _NOT_FOUND


def accepted(answer: Response, why: str) -> Outcome | None:
    """Return the success that an answer is; ``None``: it is none."""
    return Delivered(answer.header("request-id"), why) if answer.status == ACCEPTED else None


def unsent(outcome: Outcome) -> Outcome:
    """Return what an outcome means of a step that sends nothing."""
    return Deferred(outcome.why) if isinstance(outcome, Uncertain) else outcome
