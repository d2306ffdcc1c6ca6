"""Runs the services of compose.yaml as an engine would, as far as the kernel alone can: each with a root, mounts,
a user and a network of its own.

A root is a memory file system onto which this machine's programs are bound, read-only; so a service finds its
files where compose.yaml says, and nowhere else, and cannot write where it must not.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.support.compose_file import ROOT, Service, image_owners, load_compose
from tests.support.processes import WAIT_S, require_binary, wait_until_blocking

_ADDRESS: Final = "10.89.0.1"
"""Where the services find each other: no loopback, to which some servers are more lenient."""

_PYTHON: Final = "/opt/pulse-bridge"
_HOST_FOLDERS: Final = ("usr", "bin", "sbin", "lib", "lib64", "proc", "dev")
_ETC: Final = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "ssl")


@dataclass(frozen=True)
class Mount:
    """What is mounted where; `source` is a path of this machine."""

    source: Path
    target: str
    read_only: bool


class Stack:
    """The services on one network that nobody else is on.

    Args:
        folder: Gets the volumes and the logs.
        python_folder: A virtual environment with the project installed, in place of the image.
        variables: Of compose.yaml, for those that shall not be at their defaults.
    """

    def __init__(self, folder: Path, python_folder: Path, **variables: str) -> None:
        for binary in ("unshare", "nsenter", "chroot", "ip"):
            require_binary(binary)
        self._folder = folder
        self._python = python_folder
        self._undo = ExitStack()
        self._network = 0
        specs = load_compose(**variables)["services"]
        self.services = {name: Service(name, spec) for name, spec in specs.items()}

    def __enter__(self) -> Self:
        holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "sh",
                "-c",
                f"ip link set lo up && ip addr add {_ADDRESS}/32 dev lo && echo up && exec sleep infinity",
            ],
            stdout=subprocess.PIPE,
        )
        self._undo.enter_context(holder)
        self._undo.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n", "this user may make no network of its own"
        self._network = holder.pid
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            if service.process is not None and service.process.poll() is None:
                os.killpg(service.process.pid, signal.SIGKILL)
                service.process.wait()
        self._undo.close()

    # Volumes and logs

    def volume(self, name: str) -> Path:
        """Give the folder of a named volume."""
        return self._folder / "volumes" / name

    def log(self, name: str) -> str:
        """Give what a service has written."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    # Running

    def start(self, name: str) -> None:
        """Start a service and wait for nothing."""
        service = self.services[name]
        with (self._folder / f"{name}.log").open("ab") as log:
            service.process = subprocess.Popen(
                self._enter(service, service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environ(service),
            )

    def run(self, name: str, command: Sequence[str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command inside a service's root and network to its end; without one, the service's own."""
        service = self.services[name]
        return subprocess.run(
            self._enter(service, service.command if command is None else command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S * 2,
            env=self._environ(service),
        )

    @contextmanager
    def listener(self, log: str, name: str, command: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
        """Run a command beside a service for the length of the block; what it writes is in a log of its own."""
        service = self.services[name]
        with (
            (self._folder / f"{log}.log").open("ab") as file,
            subprocess.Popen(
                self._enter(service, command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environ(service),
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def wait_healthy(self, name: str) -> None:
        """Wait until a service's own health check passes."""
        service = self.services[name]
        told = ""

        def healthy() -> bool:
            nonlocal told
            assert service.process is not None
            assert service.process.poll() is None, f"{name} ended {service.process.poll()}: {self.log(name)}"
            result = self.run(name, service.health_command)
            told = result.stdout + result.stderr
            return result.returncode == 0

        try:
            wait_until_blocking(healthy, f"{name} is healthy", timeout_s=WAIT_S * 2)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe check: {told}\nthe log: {self.log(name)}") from None

    def stop(self, name: str) -> int:
        """Stop a service as an engine does and give its exit code; what takes too long is killed: -9."""
        service = self.services[name]
        assert service.process is not None
        service.process.terminate()
        try:
            return service.process.wait(service.stop_grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(service.process.pid, signal.SIGKILL)
            return service.process.wait()

    # How it is made

    def _environ(self, service: Service) -> dict[str, str]:
        environ = {"PATH": f"{_PYTHON}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/"}
        if service.is_ours:
            environ |= {"XDG_STATE_HOME": "/state", "PYTHONUNBUFFERED": "1"}
        return environ | {name: str(value) for name, value in service.spec.get("environment", {}).items()}

    def _mounts(self, service: Service) -> list[Mount]:
        mounts = []
        for text in service.spec.get("volumes", []):
            source, target, *mode = text.split(":")
            path = ROOT / source if source.startswith(".") else self._make_volume(source, target)
            mounts.append(Mount(path, target, mode == ["ro"]))
        return mounts

    def _make_volume(self, name: str, target: str) -> Path:
        path = self.volume(name)
        if not path.exists():
            path.mkdir(parents=True)
            uid, gid, mode = image_owners()[target]
            os.chown(path, uid, gid)
            path.chmod(mode)
        return path

    def _enter(self, service: Service, command: Sequence[str]) -> list[str]:
        """Wrap a command so that it runs inside."""
        root = self._folder / "roots" / service.name
        root.mkdir(parents=True, exist_ok=True)
        lines = ["set -e", f"mount -t tmpfs -o mode=755 tmpfs {root}"]
        for name in _HOST_FOLDERS:
            lines += _bound(Path("/", name), root, f"/{name}", read_only=name in {"usr", "lib", "lib64"})
        # Whatever Python this is, where it thinks that it is.
        if sys.base_prefix != "/usr":
            lines += _bound(Path(sys.base_prefix), root, sys.base_prefix, read_only=True)
        lines += _bound(self._python, root, _PYTHON, read_only=True)
        lines += [f"mkdir -p {root}/etc"]
        lines += [f"cp -a /etc/{name} {root}/etc/ 2>/dev/null || true" for name in _ETC]
        lines += [f"printf '127.0.0.1 localhost\\n{_ADDRESS} {' '.join(self.services)}\\n' > {root}/etc/hosts"]
        if service.is_ours:
            script = "/usr/local/lib/pulse-bridge/make_secrets.py"  # see Dockerfile
            lines += [f"mount -t tmpfs tmpfs {root}/usr/local/lib"]
            lines += _bound(ROOT / "deploy/make_secrets.py", root, script, read_only=True)
        for mount in self._mounts(service):
            lines += _bound(mount.source, root, mount.target, read_only=mount.read_only)
        for text in service.spec.get("tmpfs", []):
            lines += [f"mkdir -p {root}/tmp", f"mount -t tmpfs -o mode=1777 tmpfs {root}{text.partition(':')[0]}"]
        if service.spec.get("read_only"):
            lines += [f"mount -o remount,ro {root}"]
        user = service.spec["user"]
        groups = ",".join(service.spec.get("group_add", [])) or user.partition(":")[2]
        lines += [f"exec chroot --userspec={user} --groups={groups} {root} {shlex.join(command)}"]
        inside = ["unshare", "--mount", "sh", "-c", "\n".join(lines)]
        if service.spec.get("network_mode") == "none":
            return ["unshare", "--net", *inside]
        return ["nsenter", f"--net=/proc/{self._network}/ns/net", *inside]


def _bound(source: Path, root: Path, target: str, *, read_only: bool) -> list[str]:
    """Give the shell lines that bind a path of this machine into a root."""
    place = f"{root}{target}"
    if source.is_symlink():
        return [f"ln -s {os.readlink(source)} {place}"]
    if not source.exists():
        return []
    make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p {Path(place).parent} && touch {place}"
    lines = [make, f"mount --rbind {source} {place}"]
    return [*lines, f"mount -o remount,bind,ro {place}"] if read_only else lines


def build_environment(folder: Path) -> Path:
    """Install the project as its image does: one wheel with everything, nothing of this checkout left in it."""
    uv = shutil.which("uv") or require_binary("uv")
    environ = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    wheels, venv = folder / "wheels", folder / "venv"
    for command in (
        [uv, "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(ROOT)],
        [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(venv)],
    ):
        subprocess.run(command, check=True, cwd=folder, env=environ)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(venv / "bin" / "python"),
            f"pulse-bridge[all] @ {wheel.as_uri()}",
        ],
        check=True,
        cwd=folder,
        env=environ,
    )
    return venv
