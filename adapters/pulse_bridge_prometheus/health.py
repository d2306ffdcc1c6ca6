"""What `/healthz` answers; pure."""

from typing import NamedTuple

from pulse_bridge_prometheus.view import View


class Health(NamedTuple):
    """The answer.

    Args:
        ok: 200 if true, else 503.
        body: A small JSON object.
    """

    ok: bool
    body: dict[str, str | int]


def judge(view: View) -> Health:
    """Say whether what `/metrics` shows can be relied on, and if not, why.

    No host at all, and hosts that all said goodbye, are no illness: a training cluster may be off.
    """
    if view.unready is not None:
        return unavailable(view.unready)
    heard = silent = 0
    for host, up in view.current_hosts():
        heard += up
        silent += host.hearing == "silent"
    if silent and not heard:
        return unavailable(
            f"connected, but {'the one host' if silent == 1 else f'all {silent} hosts'} fell silent"
        )
    return Health(
        ok=True, body={"status": "ok", "hosts_heard": heard, "jobs": sum(1 for _ in view.current_jobs())}
    )


def unavailable(reason: str) -> Health:
    """Say no, with the reason in words."""
    return Health(ok=False, body={"status": "unavailable", "reason": reason})
