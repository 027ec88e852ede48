"""
Credentials, region and endpoint, by botocore's chains, and those of a role.

Each call reads all anew: files, variables, metadata services. It may take long and blocks, so it is made on a
thread. Importing this module loads botocore.
"""

import logging
import re
from datetime import datetime
from functools import cache
from typing import Any, Final

import botocore.loaders
import botocore.session
from attrs import evolve, field, frozen
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from smtprelay.http.client import NotSent
from smtprelay.http.outcomes import in_print
from smtprelay.http.renewed import Credential
from smtprelay.net.tls_client import untrusted_words
from smtprelay.providers.ses.errors import CREDENTIALS, repeatable
from smtprelay.providers.ses.outbound import use_outbound
from smtprelay.providers.ses.sources import AwsSource

# At its debug level it logs session tokens and what it signs; a program that embeds us may log all.
logging.getLogger("botocore").setLevel(logging.INFO)

#: What STS says of itself, or of the identity provider, and not of us.
_LATER: Final = frozenset(
    {"Throttling", "ThrottlingException", "IDPCommunicationError", "RequestLimitExceeded"}
)
_SERVER_ERROR: Final = 500
#: Characters of what a program prints that are looked at; less is repeated.
_READ: Final = 4000
#: In what a program prints that gives credentials: escape sequences, values of secrets, and words that may be
#: secrets.
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_VALUE: Final = re.compile(
    r"(?i)([\w-]*(?:secret|passw|passphrase|token|credential|key)[\w-]*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)
_LONG_WORD: Final = re.compile(r"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[A-Za-z0-9+/=_.~-]{16,}")


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


def access_of(source: AwsSource, held: Credential[Any] | None = None) -> Credential[AwsAccess]:
    """
    Return the credentials that are valid now, and where requests with them go.

    :param held: keys from elsewhere; else those of botocore's chain.
    :raises ValueError: there are none, they are refused, or the region is missing.
    :raises NotSent: a service that gives them does not answer.
    """
    try:
        return _access_of(source, held)
    except (HTTPClientError, NotConnected, ResponseParserError) as error:
        raise NotSent(f"no AWS credentials: {_words(error)}") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code")
        young = held is not None and held.is_new and code in CREDENTIALS
        if status >= _SERVER_ERROR or code in _LATER or young:
            raise NotSent(f"no AWS credentials: {_words(error)}") from error
        raise ValueError(f"no AWS credentials: {_words(error)}") from error
    except BotoCoreError as error:
        raise ValueError(f"no AWS credentials: {_words(error)}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        # Of botocore, which takes the form of an answer for granted.
        raise NotSent("no AWS credentials: an answer without them: is that AWS?") from error


def _access_of(source: AwsSource, held: Credential[Any] | None) -> Credential[AwsAccess]:
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    region = source.region or session.get_config_variable("region")
    if not region:
        raise ValueError("no AWS region: set region, or AWS_REGION")
    session.set_config_variable("region", region)
    use_outbound(session, source.outbound)
    held = held or _found(session)
    if not all(isinstance(part, str | None) for part in held.value):
        raise TypeError("a key or token is no text")
    if not all((part or "").isprintable() for part in held.value):
        raise ValueError("AWS credentials: a key or token has a control character in it, such as a line end")
    if source.role:
        held = _of_role(session, held, source)
    client = _client(session, source.service, held.value, source.endpoint)
    return evolve(held, value=AwsAccess(held.value, region, client.meta.endpoint_url.rstrip("/")))


def _found(session: Any) -> Credential[Any]:
    """Return what botocore's chain finds."""
    found = session.get_credentials()
    if found is None:
        raise ValueError(
            "no AWS credentials: botocore finds none (environment, profile, container, instance)"
        )
    return Credential(found.get_frozen_credentials(), _expiry(found), found.method)


@cache
def _loader() -> Any:
    """Return what reads botocore's models, which are large and never change: once is enough."""
    return botocore.loaders.create_loader()


def _of_role(session: Any, held: Credential[Any], source: AwsSource) -> Credential[Any]:
    """Return the keys of the role, which is assumed with those held."""
    asked = {"RoleArn": source.role, "RoleSessionName": source.session_name}
    if source.external_id:
        asked["ExternalId"] = source.external_id
    given = _client(session, "sts", held.value).assume_role(**asked)["Credentials"]
    until: datetime = given["Expiration"]
    expires = min(until.timestamp(), held.expires or until.timestamp())
    keys = ReadOnlyCredentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    return Credential(keys, expires, source.role, login_expires=held.login_expires)


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
    text = str(error)
    if isinstance(error, CredentialRetrievalError):
        text = _LONG_WORD.sub("…", _VALUE.sub(r"\1…", _ESCAPE.sub("", text[:_READ])))
    return untrusted_words(in_print(repeatable(text)))
