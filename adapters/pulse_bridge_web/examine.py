"""What `pulse-bridge doctor` finds out about the page: its token, and whether its port is to be had."""

import asyncio
from collections.abc import AsyncIterator

from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.doctor_ports import listens_on
from pulse_bridge.errors import ConfigError
from pulse_bridge_web.options import WebOptions
from pulse_bridge_web.safety import read_token
from pulse_bridge_web.server import listen


async def examine(options: WebOptions, shown: str, examination: Examination) -> AsyncIterator[Finding]:
    """Look at the token and, for a moment, listen.

    Raises:
        ConfigError: The token cannot be read, the port is not to be had, or others could read without a token.
    """
    token = await asyncio.to_thread(read_token, options.token_env, options.token_file, shown=shown)
    if options.fd is not None:
        yield examination.fine(f"its socket is passed on to it (fd={options.fd}), and is looked at when it starts")
        return
    where = f"port {options.port} of {options.bind}"
    try:
        sock = await asyncio.to_thread(
            listen, options.bind, options.port, has_token=token is not None, shown=shown
        )
    except ConfigError:
        pid = examination.sidecar_pid
        if pid is None or not listens_on(pid, options.port):
            raise
        yield examination.fine(f"the sidecar (pid {pid}) serves the page on {where}")
        return
    sock.close()
    yield examination.fine(f"{where} is free for the page")
