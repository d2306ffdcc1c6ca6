"""Why a port cannot be listened on, for whichever subscriber serves something."""

import errno
import socket


def explain_refusal(error: OSError, bind: str, port: int) -> str:
    """Say in words what is wrong and what to do; for the end of a ConfigError's sentence."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {bind} is in use by another program; choose another with port=NUMBER"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}; choose one above 1023 with port=NUMBER"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {bind!r} to listen on; choose another with bind=ADDRESS"
    return f"cannot listen on port {port} of {bind}: {error.strerror}"
