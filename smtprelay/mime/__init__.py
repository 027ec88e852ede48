"""
What is inside a mail: its header fields, its parts, their texts and charsets.

``headers`` looks at the header block, ``parse`` takes a mail apart with the help of ``text`` (encoded words,
parameters, addresses) and ``charset`` (octets to text); ``outgoing`` finishes a mail that leaves as MIME:
it plans (``outgoing_header``, ``outgoing_parts``) what a stream (``outgoing_plan``, ``encoders``) does.
All of these are pure and linear in their input, and none of them fails over what a mail contains.

``worker`` has such work done without holding up the reactor: at once for small mail (``turns``), for the rest
in a ``process`` that runs ``child``; they exchange ``frames``, and name a ``task`` and its failures alike.
"""
