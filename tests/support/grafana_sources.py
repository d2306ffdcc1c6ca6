"""What Grafana's data sources make of a query, asked of the real servers.

Source: RedisGrafana/grafana-redis-datasource (`redis-stream.go`, `redis-custom.go`, `query.go`),
grafana/mqtt-datasource (`framer.go`, `topic.go`), and Grafana's own Prometheus source.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paho.mqtt.client import topic_matches_sub

from tests.support.grafana_transform import Frame
from tests.support.mosquitto import Received
from tests.support.prometheus import Prometheus
from tests.support.redis_server import RawRedis

Query = Mapping[str, Any]


def ask_redis(client: RawRedis, query: Query, from_ms: int, to_ms: int) -> list[Frame]:
    """Run a query as the Redis source's back end does.

    Args:
        from_ms: The begin of the dashboard's time range, Unix milliseconds; a stream is read from there.
        to_ms: Its end.
    """
    if query["type"] == "cli":
        return [Frame({"Value": _as_values(client.execute_command(*shlex.split(query["query"])))})]
    assert query["type"] == "command"
    match query["command"]:
        case "xrevrange":
            answer = client.xrevrange(query["keyName"], f"{to_ms}-0", f"{from_ms}-0", query["count"])
            return [_stream_frame(answer)]
        case "ttl":
            return [Frame({"Value": [float(client.ttl(query["keyName"]))]})]
        case other:
            raise AssertionError(f"a command that nothing here replays: {other}")


def _as_values(answer: Any) -> list[str]:
    # A list is given as it is; a text is split at its lines.
    assert answer, "the command found nothing"
    return [str(value) for value in answer] if isinstance(answer, list) else str(answer).split("\n")


def _stream_frame(entries: Sequence[tuple[str, dict[str, str]]]) -> Frame:
    """Make the table of a stream's entries.

    A column's first value decides whether it is one of numbers. Where an entry lacks the field, and where a text
    stands in a column of numbers, is 0; in a column of texts the empty text.
    """
    columns: dict[str, list[Any]] = {"$streamId": [], "$time": []}
    empty: dict[str, float | str] = {}
    for row, (entry_id, fields) in enumerate(entries):
        columns["$streamId"].append(entry_id)
        columns["$time"].append(int(entry_id.partition("-")[0]))
        for name, text in fields.items():
            if name not in empty:
                empty[name] = "" if _number(text) is None else 0.0
                columns[name] = [empty[name]] * row
            columns[name].append(text if empty[name] == "" else _number(text) or 0.0)
        for name in empty.keys() - fields.keys():
            columns[name].append(empty[name])
    return Frame(columns)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def ask_mqtt(received: Iterable[Received], query: Query) -> list[Frame]:
    """Give what the MQTT source would have shown had it been open from the start.

    A column's type is that of its first value; a value of another is dropped. A null ends the source's process, so
    that there must be none.
    """
    columns: dict[str, list[Any]] = {"Time": []}
    types: dict[str, type] = {}
    matching = (message for message in received if topic_matches_sub(query["topic"], message.topic))
    for row, message in enumerate(matching):
        for name, value in json.loads(message.payload, parse_int=float).items():
            assert value is not None, f"a null in {message.topic}"
            assert not isinstance(value, dict | list), f"{name} in {message.topic} is not flat"
            values = columns.setdefault(name, [None] * row)
            if types.setdefault(name, type(value)) is type(value):
                values.append(value)
        columns["Time"].append(row)
        for values in columns.values():
            values.extend([None] * (row + 1 - len(values)))
    return [Frame(columns)]


def ask_prometheus(prometheus: Prometheus, queries: Sequence[Query]) -> list[Frame]:
    """Run a panel's queries for now.

    Returns:
        One table for each query in the form of a table; for the others one frame a series, whose values stand in a
        column that bears the legend.
    """
    frames: list[Frame] = []
    for query in queries:
        samples = prometheus.query(query["expr"])
        assert samples, f"no series: {query['expr']}"
        if query.get("format") == "table":
            names = dict.fromkeys(name for labels, _ in samples for name in labels)
            columns: dict[str, list[Any]] = {"Time": [0] * len(samples)}
            columns |= {name: [labels.get(name) for labels, _ in samples] for name in names}
            value = "Value" if len(queries) == 1 else f"Value #{query['refId']}"
            frames.append(Frame(columns | {value: [number for _, number in samples]}))
            continue
        for labels, number in samples:
            legend = re.sub(r"\{\{(\w+)\}\}", lambda found: labels[found[1]], query["legendFormat"])  # noqa: B023
            frames.append(Frame({"Time": [0], legend: [number]}, labels))
    return frames
