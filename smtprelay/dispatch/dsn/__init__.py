"""
Reports to senders (RFC 3461 to RFC 3464): whether there is one to write, and its three parts.

``reporter`` decides, ``report`` says what about, ``render`` puts the parts together.
"""
