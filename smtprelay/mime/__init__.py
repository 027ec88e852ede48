"""
What is inside a mail: its header fields, its parts, their texts and charsets.

``head`` and ``headers`` look at the header. ``parse`` takes a mail apart: ``structure`` finds its parts,
``text``, ``encoded_words``, ``parameters`` and ``address`` read what stands in fields, ``transfer_encoding``
and ``charset`` make text of octets. ``outgoing`` finishes a mail that leaves as MIME. All of these are pure
and linear in their input, and none of them fails over what a mail contains.

``worker`` has such work done where it does not hold up the reactor.
"""
