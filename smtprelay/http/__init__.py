"""
HTTP as a client: connections and requests, the credentials that they carry, and what refusals mean.

Providers, checkers and the sources of secrets share it.
"""
