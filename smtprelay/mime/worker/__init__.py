"""
Work on the content of mail, done where it does not hold up the reactor.

``mime_worker`` takes it: small mail is worked on at once (``inline_budget``), the rest in a ``process`` that
runs ``child``. They exchange ``frames``, and name a ``task`` and its ``errors`` alike.
"""
