"""What `pulse-bridge doctor` finds out about the metrics: whether their port is to be had."""

import asyncio
from collections.abc import AsyncIterator

from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.doctor_ports import examine_port
from pulse_bridge_prometheus.options import PrometheusOptions


async def examine(options: PrometheusOptions, examination: Examination) -> AsyncIterator[Finding]:
    """Look at the port."""
    for finding in await asyncio.to_thread(
        lambda: list(examine_port(options.bind, options.port, "/metrics", examination))
    ):
        yield finding
