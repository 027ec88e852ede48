"""
What is looked for in a configuration that is well-formed.

``consistency`` finds settings that contradict each other, ``security`` what could be abused, ``secrets`` and
``files`` what is missing outside of the file.
"""
