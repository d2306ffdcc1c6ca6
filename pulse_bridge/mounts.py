"""Which file system a path is on, and whether it tells this kernel about changes made elsewhere.

Source: proc_pid_mountinfo(5); inotify(7), "Limitations and caveats": changes made on a network file system by
another machine, and in pseudo file systems, are not reported.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOUNTINFO: Final = "/proc/self/mountinfo"

_REMOTE: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "glusterfs"),
        *("lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "ocfs2", "gfs2", "wekafs", "fuse", "fuseblk"),
        *("virtiofs", "vboxsf", "vmhgfs", "prl_fs", "prl_fs_freeze", "fakeowner"),
    }
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mounts:
    """The mounts that this process sees.

    Args:
        fs_type_by_point: Mount point to the type of what is on top there.
        options_by_point: Mount point to the file system's own options there, e.g. `acregmax` to `120`; one without
            a value to an empty text.
    """

    fs_type_by_point: Mapping[str, str] = field(default_factory=dict)
    options_by_point: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, mountinfo: str = MOUNTINFO) -> "Mounts":
        """Read the table; it is empty where the platform has none."""
        try:
            lines = Path(mountinfo).read_bytes().split(b"\n")
        except OSError:
            return cls()
        found: dict[str, str] = {}
        options: dict[str, Mapping[str, str]] = {}
        for line in lines:
            # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
            left, dash, right = line.partition(b" - ")
            columns = left.split(b" ")
            if dash and len(columns) >= 6:  # noqa: PLR2004 - the optional columns begin after the sixth
                # A later line with the same point lies on top of the earlier.
                point = _unescape(os.fsdecode(columns[4]))
                found[point] = os.fsdecode(right.split(b" ")[0])
                options[point] = _options(os.fsdecode(right.rpartition(b" ")[2]))
        return cls(found, options)

    def fs_type(self, real_path: str) -> str | None:
        """Give the type of the file system that a path is on, e.g. `ext4`, without touching it.

        Args:
            real_path: Absolute, with no link in it (`os.path.realpath`); it need not exist.

        Returns:
            The type, or None where no mount is known.
        """
        point = self.point(real_path)
        return None if point is None else self.fs_type_by_point[point]

    def point(self, real_path: str) -> str | None:
        """Give the mount point that a path is below, or is; None where no mount is known."""
        path = real_path
        while path not in self.fs_type_by_point:
            parent = os.path.dirname(path)  # noqa: PTH120 - called for every folder at every search
            if parent == path:
                return None
            path = parent
        return path


def is_remote(fs_type: str | None) -> bool:
    """Say whether changes to such a file system may come about unnoticed by this kernel, and access may hang."""
    return fs_type is not None and (fs_type in _REMOTE or fs_type.startswith("fuse."))


def remote_fs_type(path: str | os.PathLike[str]) -> str | None:
    """Give the type of the network or FUSE file system that a path is on; None where it is on a local one.

    Args:
        path: It need not exist; links are followed.
    """
    fs_type = Mounts.read().fs_type(os.path.realpath(path))
    return fs_type if is_remote(fs_type) else None


def _options(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (option.partition("=") for option in text.split(","))}


def _unescape(text: str) -> str:
    r"""Undo the kernel's `\040` for a space, `\011` tab, `\012` newline and `\134` backslash."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
