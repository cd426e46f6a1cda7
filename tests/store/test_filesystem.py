from __future__ import annotations

from pathlib import Path

import pytest

from specrun.store.filesystem import disk_free, filesystem_type, is_network_type, sync_filesystem

MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
server:/a /mnt/my\040disk cifs rw 0 0
/dev/sdb1 /home/ann/local xfs rw 0 0
first /over ext4 rw 0 0
second /over nfs rw 0 0
half a"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/home/ann/project", "nfs4"),
        ("/homes/x", "ext4"),
        ("/home/ann/local/project", "xfs"),
        ("/mnt/my disk/project", "cifs"),
        ("/over/x", "nfs"),
        ("/", "ext4"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    assert filesystem_type(Path(path), MOUNTS) == kind


def test_fuse_is_a_network_unless_known_to_be_local() -> None:
    assert all(is_network_type(kind) for kind in ("nfs4", "cifs", "9p", "fuse.sshfs", "fuse.rclone"))
    assert not any(is_network_type(kind) for kind in ("ext4", "xfs", "overlay", "fuseblk", "tmpfs", ""))


def test_free_space_is_asked_where_the_folder_will_lie(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "not" / "yet") > 0


def test_syncing_a_folder_that_does_not_exist_fails(tmp_path: Path) -> None:
    sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "missing")
