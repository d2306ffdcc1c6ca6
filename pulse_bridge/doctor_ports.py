"""Who listens on a port of this machine, so that a port in use can be told from one that is ours."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.listening import explain_refusal

_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING: Final = "0A"


def examine_port(bind: str, port: int, what: str, examination: Examination) -> Iterator[Finding]:
    """Tell whether a port can be listened on, by trying for a moment; blocks where `bind` is a name.

    Args:
        bind: Address or name.
        what: What will be served there.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        pid = examination.sidecar_pid
        if pid is not None and listens_on(pid, port):
            yield examination.fine(f"the sidecar (pid {pid}) serves {what} on port {port} of {bind}")
            return
        sentence, _, remedy = explain_refusal(error, bind, port).partition("; ")
        yield examination.problem(sentence, remedy or "choose another with port=NUMBER or bind=ADDRESS")
    else:
        yield examination.fine(f"port {port} of {bind} is free for {what}")


def listens_on(pid: int, port: int) -> bool:
    """Say whether a process listens on a TCP port.

    Source: proc_pid_net(5), `tcp`: local address and port in hexadecimal, state, and the socket's inode.
    """
    inodes = set()
    for table in _TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    try:
        return any(str(fd.readlink()) in inodes for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
