"""
HTTP as a client, for providers, checkers and the sources of secrets.

``client`` sends requests over the connections of a ``pool``. ``credentials`` are what they carry, those that
expire are ``renewed``, and ``oauth`` obtains tokens. ``outcomes`` says what a refusal means, by tables.
"""
