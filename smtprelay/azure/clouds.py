"""
Microsoft's clouds: where Entra is in each, and what its services are called there. Pure.
"""

from collections.abc import Mapping
from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class Cloud:
    """
    One cloud; all are URLs without a slash at the end.

    :ivar authority: where Entra gives tokens.
    :ivar graph: Microsoft Graph.
    :ivar vault: Key Vault, as the resource of a token.
    :ivar communication: Communication Services, as that; ``""``: it is not there, or not documented.
    """

    authority: str
    graph: str
    vault: str
    communication: str = ""


#: By the word of the setting ``cloud``. https://learn.microsoft.com/graph/deployments
CLOUDS: Final[Mapping[str, Cloud]] = {
    "global": Cloud(
        authority="https://login.microsoftonline.com",
        graph="https://graph.microsoft.com",
        vault="https://vault.azure.net",
        # With the slash it has two of them before ``.default``: so the service's SDK asks.
        communication="https://communication.azure.com/",
    ),
    "usgov": Cloud(
        authority="https://login.microsoftonline.us",
        graph="https://graph.microsoft.us",
        vault="https://vault.usgovcloudapi.net",
        communication="https://communication.azure.us/",
    ),
    "dod": Cloud(
        authority="https://login.microsoftonline.us",
        graph="https://dod-graph.microsoft.us",
        vault="https://vault.usgovcloudapi.net",
        communication="https://communication.azure.us/",
    ),
    "china": Cloud(
        authority="https://login.chinacloudapi.cn",
        graph="https://microsoftgraph.chinacloudapi.cn",
        vault="https://vault.azure.cn",
    ),
}

#: Exchange Online, as the resource of a token.
OUTLOOK: Final = "https://outlook.office365.com"
#: Table Storage, as the resource of a token, in every cloud.
STORAGE: Final = "https://storage.azure.com"
#: Tables of Cosmos DB, as that.
COSMOS: Final = "https://cosmos.azure.com"


def scope(resource: str) -> str:
    """Return the scope of all that an application may do with ``resource``."""
    return f"{resource}/.default"
