"""
Who a client is, for :class:`twisted.cred.portal.Portal`.

A session without a login is judged by :mod:`~smtprelay.policy.checkers.anonymous`. A login goes to the
:mod:`~smtprelay.policy.checkers.chain` of its listener, which makes guessing slow and asks the other checkers
of this folder, or anybody's. Each answers with an :class:`~smtprelay.policy.settings.Identity`, or fails with
:exc:`~smtprelay.policy.checkers.chain.UnknownUser`, with :exc:`~twisted.cred.error.UnauthorizedLogin`, or
    with
:exc:`~smtprelay.model.message.Refused` where it knows the reply better.
"""
