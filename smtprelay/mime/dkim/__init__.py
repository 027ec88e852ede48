"""
DKIM signatures (RFC 6376, RFC 8463).

``headers`` chooses the fields that a signature covers, as a task of the MIME worker; ``canonical`` makes
header and body what is hashed; ``signature`` writes the field; ``key`` signs; ``record`` is what DNS says of
a key. Pure.
"""
