"""Runs on Home Assistant's Python: says commands to its websocket API and prints the results.

Reads `{"url": …, "token": …, "commands": [{"type": …, …}, …]}` from its input and prints the list of answers. Its
registries and blueprints can be asked there only, and Home Assistant brings a websocket client that the project
does not have.

Source: developers.home-assistant.io, "WebSocket API".
"""

import asyncio
import json
import sys
from typing import Any

import aiohttp  # type: ignore[import-not-found] # it stands in Home Assistant's environment


async def ask(url: str, token: str, commands: list[dict[str, Any]]) -> list[Any]:
    """Give the answer of each command, in order."""
    answers = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "auth", "access_token": token})
        assert (await socket.receive_json())["type"] == "auth_ok"
        for number, command in enumerate(commands, 1):
            await socket.send_json({"id": number, **command})
            answers.append(await socket.receive_json())
    return answers


if __name__ == "__main__":
    json.dump(asyncio.run(ask(**json.load(sys.stdin))), sys.stdout)
