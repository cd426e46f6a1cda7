"""What the store asks of a file system: its type, durability, free space."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path

NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "afpfs", "ncpfs", "webdav", "davfs"}
    | {"ceph", "lustre", "gpfs", "beegfs", "panfs", "glusterfs", "pvfs2"}
)
LOCAL_FUSE_TYPES = frozenset({"fuse.ext4", "fuse.ntfs", "fuse.exfat", "fuse.fuse-overlayfs", "fuseblk"})


def filesystem_type(path: Path, mounts: str) -> str:
    """The type of the file system that holds an absolute path, "" when unknown.

    mounts: the text of /proc/mounts; of several mounts on one point the last one counts.
    """
    best, found = -1, ""
    target = path.as_posix().rstrip("/") + "/"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescape(fields[1]).rstrip("/") + "/"
        if target.startswith(point) and len(point) >= best:
            best, found = len(point), fields[2]
    return found


def is_network_type(kind: str) -> bool:
    """FUSE counts as network unless it is known to be local: sshfs, s3fs, rclone and their like lock badly."""
    if kind in LOCAL_FUSE_TYPES:
        return False
    return kind in NETWORK_TYPES or kind.startswith("fuse.")


def on_network(path: Path) -> bool:
    """Whether a path (it need not exist) lies on a network file system; False where that cannot be told."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return False
    return is_network_type(filesystem_type(path.resolve(), mounts))


def fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Makes the names in a folder durable. File systems that refuse to sync a folder need no sync."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def sync_filesystem(path: Path) -> None:
    """Makes everything written so far on the file system of `path` durable, contents and names.

    One call where a hundred thousand label files would each need their own fsync: syncfs(2) on Linux,
    sync(2) elsewhere.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        syncfs = _libc_syncfs()
        if syncfs is None or syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


@cache
def _libc_syncfs():  # type: ignore[no-untyped-def]
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # costs milliseconds and is needed by publishing only

    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def disk_free(path: Path) -> int:
    """Free bytes where `path` lies or will lie; raises OSError."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _unescape(text: str) -> str:
    r"""/proc/mounts writes space, tab, newline and backslash as \040, \011, \012 and \134."""
    if "\\" not in text:
        return text
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace("\\" + code, character)
    return text
