A delivery to several can be split into two of the same message, ``id.1`` and ``id.2``, while it is in the queue; the history of both says so.
