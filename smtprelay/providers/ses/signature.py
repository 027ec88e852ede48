"""
AWS Signature Version 4 by botocore, with a clock of ours and a body that is hashed while it is read.

Importing this module loads botocore.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from smtprelay.providers.ses.credentials import AwsAccess


def signed_headers(
    access: AwsAccess, method: str, url: str, headers: Mapping[str, str], *, digest: str, now: float
) -> dict[str, str]:
    """
    Return ``headers`` with those that authenticate one request to SES.

    :param digest: SHA-256 of the body in hexadecimal.
    :param now: seconds since the epoch; the service tolerates five minutes.
    """
    request = AWSRequest(method=method, url=url, headers={**headers, "Host": urlsplit(url).netloc})
    _Signature(access, digest, now).add_auth(request)
    return dict(request.headers.items())


class _Signature(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, which would ask the machine for the time and hold the body."""

    def __init__(self, access: AwsAccess, digest: str, now: float) -> None:
        super().__init__(access.keys, "ses", access.region)
        self._digest = digest
        self._time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 -- botocore's signature
        return self._digest

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._time
        super()._modify_request_before_signing(request)
