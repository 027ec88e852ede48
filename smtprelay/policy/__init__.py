"""
Station 2: who may send what to whom, and by which route it goes.

Read :mod:`~smtprelay.policy.admission` for what is refused and why, :mod:`~smtprelay.policy.avatar` for how a
transaction goes through it, :mod:`~smtprelay.policy.router` for the route.
"""
