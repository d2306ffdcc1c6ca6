"""Makes the senders of all targets, away from the event loop: loading Apprise takes a second or two."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pulse_bridge.errors import ConfigError, PluginError
from pulse_bridge_alerts.quiet import silence_libraries
from pulse_bridge_alerts.sending import Sender
from pulse_bridge_alerts.service import ServiceSender
from pulse_bridge_alerts.targets import Target
from pulse_bridge_alerts.webhook import WebhookSender

if TYPE_CHECKING:
    import httpx
    from apprise import NotifyBase


@asynccontextmanager
async def open_senders(targets: Sequence[Target], timeout_s: float) -> AsyncIterator[Mapping[str, Sender]]:
    """Hold the senders, by the names of their targets.

    Args:
        timeout_s: For one sending.

    Raises:
        PluginError: On entering; the extra is not installed.
        ConfigError: On entering; Apprise does not know a URL, or something is missing in it.
    """
    silence_libraries()
    webhooks = [target for target in targets if target.kind == "webhook"]
    services = [target for target in targets if target.kind == "notify"]
    async with AsyncExitStack() as stack:
        senders: dict[str, Sender] = {}
        if webhooks:
            client = await stack.enter_async_context(await asyncio.to_thread(_make_client, timeout_s))
            senders |= {target.name: WebhookSender(client, target.url, timeout_s) for target in webhooks}
        if services:
            for target, plugin in zip(services, await asyncio.to_thread(_make_plugins, services), strict=True):
                sender = ServiceSender(plugin, timeout_s)
                stack.push_async_callback(sender.close)
                senders[target.name] = sender
        yield senders


def _make_client(timeout_s: float) -> "httpx.AsyncClient":
    try:
        import httpx  # noqa: PLC0415 - takes long, see above
    except ImportError as error:
        raise _missing_extra() from error
    # No common limit of connections: targets that hang would use it up for the others.
    return httpx.AsyncClient(timeout=timeout_s, limits=httpx.Limits(max_connections=None))


def _make_plugins(targets: Sequence[Target]) -> "list[NotifyBase]":
    with warnings.catch_warnings():
        # Some of its plugins use what Python is about to drop; that is nothing a user of ours can mend.
        warnings.simplefilter("ignore")
        try:
            from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - takes long, see above
        except ImportError as error:
            raise _missing_extra() from error
        asset = AppriseAsset(app_id="pulse-bridge", app_desc="alerts of training jobs", app_url="")
        return [_known(target, Apprise.instantiate(target.url, asset=asset)) for target in targets]


def _known(target: Target, plugin: "NotifyBase | None") -> "NotifyBase":
    if plugin is None:
        hint = "; a plain HTTP address is a webhook" if target.shown.startswith("http") else ""
        raise ConfigError(
            f"{target.place}: Apprise knows no service for {target.shown}, or a part of the URL is missing or"
            f" wrong{hint}; see its list of services at https://appriseit.com/services/"
        )
    return plugin


def _missing_extra() -> PluginError:
    return PluginError("alerts: needs the extra [alerts]: pip install 'pulse-bridge[alerts]'")
