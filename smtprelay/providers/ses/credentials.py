"""
Credentials, region and endpoint, by botocore's chains, and those of a role.

Each call reads all anew: files, variables, metadata services. It may take long and blocks, so it is made on a
thread. Importing this module loads botocore.
"""

import os
from datetime import datetime
from functools import cache
from typing import Any, Final

import botocore.loaders
import botocore.session
from attrs import field, frozen
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from smtprelay.net.outbound import DIRECT, Outbound
from smtprelay.providers.http.client import NotSent
from smtprelay.providers.renewed import Credential
from smtprelay.providers.ses.errors import repeatable
from smtprelay.providers.ses.outbound import use_outbound

#: What STS says of itself, or of the identity provider, and not of us.
_LATER: Final = frozenset(
    {"Throttling", "ThrottlingException", "IDPCommunicationError", "RequestLimitExceeded"}
)
_SERVER_ERROR: Final = 500


@frozen(kw_only=True)
class AwsSource:
    """
    What the configuration says; what is ``""`` is looked up by botocore.

    :ivar service: botocore's name of the API: ``ses`` or ``sesv2``.
    :ivar role: ARN of the role to send as.
    :ivar outbound: how the requests for credentials leave.
    """

    region: str = ""
    endpoint: str = ""
    service: str = "sesv2"
    role: str = ""
    external_id: str = ""
    session_name: str = ""
    outbound: Outbound = DIRECT


@frozen
class AwsAccess:
    """
    What a request is made with.

    :ivar keys: access key, secret key and session token, as botocore's signers take them.
    :ivar endpoint: the URL of the API, without a slash at its end.
    """

    keys: Any = field(repr=False)
    region: str
    endpoint: str


def access_of(source: AwsSource) -> Credential[AwsAccess]:
    """
    Return the credentials that are valid now, and where requests with them go.

    :raises ValueError: there are none, they are refused, or the region is missing.
    :raises NotSent: a service that gives them does not answer.
    """
    try:
        return _access_of(source)
    except (HTTPClientError, NotConnected, ResponseParserError) as error:
        raise NotSent(f"no AWS credentials: {_words(error)}") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= _SERVER_ERROR or error.response.get("Error", {}).get("Code") in _LATER:
            raise NotSent(f"no AWS credentials: {_words(error)}") from error
        raise ValueError(f"no AWS credentials: {_words(error)}") from error
    except BotoCoreError as error:
        raise ValueError(f"no AWS credentials: {_words(error)}") from error


def _access_of(source: AwsSource) -> Credential[AwsAccess]:
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    # Other SDKs read AWS_REGION; botocore does not.
    region = source.region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        raise ValueError("no AWS region: set region, or AWS_REGION")
    session.set_config_variable("region", region)
    use_outbound(session, source.outbound)
    found = session.get_credentials()
    if found is None:
        raise ValueError(
            "no AWS credentials: botocore finds none (environment, profile, container, instance)"
        )
    keys, expires, method = found.get_frozen_credentials(), _expiry(found), found.method
    if source.role:
        keys, expires, method = _role_keys(session, keys, source)
    client = _client(session, source.service, keys, source.endpoint)
    return Credential(AwsAccess(keys, region, client.meta.endpoint_url.rstrip("/")), expires, method)


@cache
def _loader() -> Any:
    """Return what reads botocore's models, which are large and never change: once is enough."""
    return botocore.loaders.create_loader()


def _role_keys(session: Any, keys: Any, source: AwsSource) -> tuple[Any, float, str]:
    """Return the keys of the role, when they expire, and what they are."""
    asked = {"RoleArn": source.role, "RoleSessionName": source.session_name}
    if source.external_id:
        asked["ExternalId"] = source.external_id
    given = _client(session, "sts", keys).assume_role(**asked)["Credentials"]
    expires: datetime = given["Expiration"]
    held = botocore.credentials.ReadOnlyCredentials(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    )
    return held, expires.timestamp(), source.role


def _client(session: Any, service: str, keys: Any, endpoint: str = "") -> Any:
    return session.create_client(
        service,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
        endpoint_url=endpoint or None,
    )


def _expiry(found: Any) -> float | None:
    """Return when credentials expire; botocore has no public name for it."""
    expires: datetime | None = getattr(found, "_expiry_time", None)
    return None if expires is None else expires.timestamp()


def _words(error: Exception) -> str:
    return " ".join(repeatable(str(error)).split())
