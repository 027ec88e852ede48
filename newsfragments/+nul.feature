NULs in a message, as programs leave them at the end of their texts, are removed with ``bare_newlines: fix``; a text in UTF-16 is refused with ``554 5.6.0`` and the advice to send UTF-8.
