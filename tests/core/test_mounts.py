from pathlib import Path

import pytest

from pulse_bridge import mounts
from pulse_bridge.mounts import Mounts, is_remote, remote_fs_type

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:40 / /data rw - nfs4 server:/export rw,addr=10.0.0.1
24 23 8:1 / /data/local\040disk rw master:2 propagate_from:3 - xfs /dev/sda1 rw
25 22 8:2 / /mnt rw - ext4 /dev/sdb rw
26 22 0:41 / /mnt rw - fuse.sshfs host: rw
a line that is none
27 22 0:42 / /back\134slash rw - tmpfs tmpfs rw
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "fs_type"),
    [
        ("/", "ext4"),
        ("/home/a", "ext4"),
        ("/data", "nfs4"),
        ("/data/runs/not/there", "nfs4"),
        ("/database", "ext4"),
        ("/data/local disk/runs", "xfs"),
        ("/mnt/x", "fuse.sshfs"),
        ("/back\\slash/x", "tmpfs"),
    ],
)
def test_a_path_is_on_the_nearest_mount_above_it_and_the_latest_on_one_point(
    table: Path, path: str, fs_type: str
) -> None:
    assert Mounts.read(str(table)).fs_type(path) == fs_type


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert Mounts.read(str(tmp_path / "missing")).fs_type("/data") is None


@pytest.mark.parametrize(
    "fs_type", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuseblk", "lustre", "ceph"]
)
def test_network_and_fuse_file_systems_give_no_hints(fs_type: str) -> None:
    assert is_remote(fs_type)


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", None])
def test_local_file_systems_give_hints(fs_type: str | None) -> None:
    assert not is_remote(fs_type)


def test_a_link_is_followed_to_the_file_system_it_leads_to(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to("/data/runs")
    read = Mounts.read(str(table))
    monkeypatch.setattr(mounts.Mounts, "read", lambda: read)
    assert remote_fs_type(link / "a" / "journal.db") == "nfs4"
    assert remote_fs_type(tmp_path) is None


def test_this_machines_own_table_is_read() -> None:
    assert Mounts.read().fs_type("/proc/self") == "proc"


def test_the_options_of_a_file_system_are_known(table: Path) -> None:
    table.write_text("23 22 0:40 / /data rw,noatime - nfs4 server:/export rw,noac,acregmax=120,addr=10.0.0.1\n")
    options = Mounts.read(str(table)).options_by_point["/data"]
    assert (options["acregmax"], options["noac"]) == ("120", "")
    assert "noatime" not in options
