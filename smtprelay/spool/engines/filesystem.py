"""
Detects file systems that do not survive a restart of the machine or the container.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

_IN_MEMORY: Final = "accepted mail is lost when the machine stops"
_IN_CONTAINER: Final = "accepted mail is lost with the container; mount a volume there"

#: What happens to a spool on such a file system.
_FORGETFUL: Final = {
    "tmpfs": f"a tmpfs: {_IN_MEMORY}",
    "ramfs": f"a ramfs: {_IN_MEMORY}",
    "overlay": f"an overlay: {_IN_CONTAINER}",
    "aufs": f"an overlay: {_IN_CONTAINER}",
}


def volatile_file_system(folder: str) -> str:
    """Return the name and effect of a folder's file system if it does not survive a restart; else ``""``."""
    return _FORGETFUL.get(file_system_of(folder), "")


def file_system_of(folder: str) -> str:
    """Return :func:`file_system` of a folder of this machine; ``""`` if it is unknown. Blocks."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
    return file_system(mountinfo, str(Path(folder).resolve()))


def file_system(mountinfo: str, folder: str) -> str:
    """
    Return the type of the file system that ``folder`` lies on, ``""`` if it is not known. Pure.

    :param mountinfo: the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)); lines that
        cannot be read count for nothing.
    :param folder: an absolute path without symbolic links.
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        place, separator, source = line.partition(" - ")
        fields, system = place.split(" "), source.split(" ")[0]
        if not separator or len(fields) < 6:  # noqa: PLR2004 -- the mount point is the fifth, options follow
            continue
        point = PurePosixPath(_unescaped(fields[4]))
        # What is mounted later over the same place hides what was there.
        if PurePosixPath(folder).is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), system
    return kind


def _unescaped(point: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
