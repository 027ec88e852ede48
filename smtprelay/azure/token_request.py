"""
How the token of a client's login is asked for.
"""

from attrs import frozen

from smtprelay.net.outbound import DIRECT, Outbound


@frozen(kw_only=True)
class TokenRequest:
    """
    Where and for what a token is asked for.

    :ivar authority: URL of Entra without a slash at the end.
    :ivar timeout: seconds for each step, and that it may wait for others of its tenant.
    """

    authority: str
    scope: str
    outbound: Outbound = DIRECT
    timeout: float = 30.0
