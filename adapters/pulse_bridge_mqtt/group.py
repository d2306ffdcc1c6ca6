"""A group on MQTT: a session at the broker, and a cursor with the state in a file here.

The broker keeps what comes while the group's reader is away, as long and as much as it is configured to. The
cursor tells what of it was committed already: a message is acknowledged only behind its commit, so it comes again
if the reader died in between.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from platformdirs import user_state_path

from pulse_bridge.errors import ConfigError
from pulse_bridge.group_store import GroupStore, open_group_store
from pulse_bridge_mqtt.connection import open_connection
from pulse_bridge_mqtt.consumer import Habits, MqttConsumer
from pulse_bridge_mqtt.cursor import Cursor
from pulse_bridge_mqtt.endpoint import Endpoint, Identity
from pulse_bridge_mqtt.holder import find_other_holder, new_holder
from pulse_bridge_mqtt.topics import Topics, make_slug

logger = logging.getLogger(__name__)

_MAX_FILE_NAME_BYTES = 100


@asynccontextmanager
async def open_group(
    endpoint: Endpoint, topics: Topics, group: str, habits: Habits
) -> AsyncIterator[MqttConsumer]:
    """Connect as the group's one reader.

    Raises:
        ConfigError: Another reader holds it: on this machine (named by its pid), or elsewhere.
        BusUnavailableError: There is no broker, or it says no; or the file cannot be used now.
    """
    beside = store_path(endpoint)
    with open_group_store(beside, group) as store:
        found = Cursor.parse(store.cursor)
        cursor = found or Cursor(new_holder())
        slug = topics.group(group)
        other = await find_other_holder(endpoint, topics.holder(slug), cursor.holder, take=found is None)
        if other is not None:
            raise ConfigError(
                f"{endpoint}: the group {group!r} was taken by another reader ({other}), and on MQTT it can have"
                f" one only: give this one a name of its own with '?name=NAME', or stop that one and delete"
                f" {beside}.group-*"
            )
        identity = Identity(
            client_id=topics.reader_client_id(slug),
            reads=True,
            expiry_s=endpoint.options.session_expiry_s,
        )
        if found is None:
            await _clear_session(endpoint, identity)
        async with open_connection(endpoint, identity) as connection:
            resumes = found is not None and connection.session_present
            if found is not None and not resumes:
                _note_forgotten(endpoint, group, store)
            yield MqttConsumer(
                connection,
                topics,
                slug,
                cursor=cursor,
                resumes=resumes,
                store=store,
                habits=habits,
                shown=str(endpoint),
            )
            connection.disconnect()


def store_path(endpoint: Endpoint) -> Path:
    """Give the path beside which the broker's groups are kept, its folder made.

    Raises:
        ConfigError: The folder cannot be made.
    """
    path = endpoint.options.group_store
    if path is None:
        path = user_state_path("pulse-bridge") / make_slug(endpoint.url.identity, _MAX_FILE_NAME_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{endpoint}: the folder {path.parent} for the group's cursor cannot be made: {error.strerror};"
            " choose another file with group_store=PATH"
        ) from None
    return path


async def _clear_session(endpoint: Endpoint, identity: Identity) -> None:
    """Have the broker forget a session by a connection of its own that keeps none.

    3.1.1 cannot begin a session anew that is to be kept (§3.1.2.4). MQTT 5 can, but mosquitto 2.0.11 loses such a
    one at its restart, persistence or not (measured): it stores only sessions of clients that came with clean
    start off.
    """
    async with open_connection(endpoint, Identity(client_id=identity.client_id)) as connection:
        connection.disconnect()


def _note_forgotten(endpoint: Endpoint, group: str, store: GroupStore) -> None:
    """Say that what came meanwhile is lost, and begin anew even if the program dies before it has."""
    logger.warning(
        "the broker has no session of this group any more, what came meanwhile is lost; beginning with a snapshot",
        extra={"destination": str(endpoint), "group": group},
    )
    store.commit("", {})
