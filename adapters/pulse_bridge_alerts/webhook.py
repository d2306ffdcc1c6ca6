"""Sends our JSON to a URL of the user's own."""

import asyncio
import math
from typing import TYPE_CHECKING

from pulse_bridge_alerts.outgoing import Outgoing
from pulse_bridge_alerts.sending import SendError, overdue, refused_with

if TYPE_CHECKING:
    import httpx


class WebhookSender:
    """One webhook.

    Args:
        client: Shared with the other webhooks.
        url: Never shown.
        timeout_s: For the whole request and its answer.
    """

    def __init__(self, client: "httpx.AsyncClient", url: str, timeout_s: float) -> None:
        self._client = client
        self._url = url
        self._timeout_s = timeout_s

    async def send(self, outgoing: Outgoing) -> None:
        """POST it; any 2xx is a success. A redirect is none: it would carry the alert somewhere else."""
        import httpx  # noqa: PLC0415 - loaded by `senders.py` in a thread, because that takes long

        headers = {"Idempotency-Key": outgoing.id}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.post(self._url, json=outgoing.payload, headers=headers)
        except (TimeoutError, httpx.TimeoutException):
            raise overdue(self._timeout_s) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            # Its text can hold the URL; the chain is cut for the same reason.
            raise SendError(f"it cannot be reached ({type(error).__name__})") from None
        if not response.is_success:
            raise refused_with(response.status_code, retry_after_s=_retry_after_s(response))


def _retry_after_s(response: "httpx.Response") -> float:
    """Read the header's form in seconds.

    Source: RFC 9110 §10.2.3.
    """
    try:
        seconds = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
