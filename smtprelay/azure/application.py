"""
As whom we ask Entra for tokens: an application with a secret or a certificate, or one that Azure knows.
"""

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from smtprelay.azure.clouds import CLOUDS

#: How an application shows who it is: by these with azure-identity, by a secret without.
BY_IDENTITY: Final = ("managed_identity", "workload", "certificate")


@frozen(kw_only=True)
class EntraApplication:
    """
    An application of Entra; two that are equal get the same tokens.

    :ivar credential: ``application``: it has a secret; or one of :data:`BY_IDENTITY`.
    :ivar client_id: with a managed identity or a workload ``""`` is the one that Azure assigned.
    :ivar authority: URL of Entra without a slash at the end.
    :ivar read_secret: returns the secret, or the password of the certificate; ``ValueError``: there is none.
    :ivar secret_place: where that is: it is the same secret where the place is the same.
    :ivar certificate: path of a file with certificate and key, PEM or PKCS#12.
    """

    credential: str = "application"
    tenant: str = ""
    client_id: str = ""
    authority: str = CLOUDS["global"].authority
    certificate: str = ""
    secret_place: str = field(default="", repr=False)
    read_secret: Callable[[], str] | None = field(default=None, eq=False, repr=False)

    @property
    def token_endpoint(self) -> str:
        """Where it asks."""
        return f"{self.authority}/{self.tenant}/oauth2/v2.0/token"
