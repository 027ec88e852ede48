"""The version, alone in a file that imports nothing, so that setuptools can read it without us."""

VERSION = "0.1.0"
