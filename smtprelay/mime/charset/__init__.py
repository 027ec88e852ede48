"""
From octets to text: one table of charsets, by the WHATWG encoding standard and by what mail is like.

``labels`` names the codec for each label, ``codecs`` and ``iso_2022`` decode, ``decoding`` decides between
what a mail says, what its octets are and what the rest of it is like. Pure.
"""

from smtprelay.mime.charset.decoding import decode, fits, html_charset, known, label_for

__all__ = ["decode", "fits", "html_charset", "known", "label_for"]
