"""
What is inside a mail: its header fields, its parts, their texts and charsets.

``headers`` looks at the header block, ``parse`` takes a mail apart with the help of ``text`` (encoded words,
parameters, addresses) and ``charset`` (octets to text); ``outgoing`` finishes a mail that leaves as MIME.
All of these are pure and linear in their input, and none of them fails over what a mail contains.
"""
