"""The OpenAPI document of the API; `/events`, which never ends, is described in words.

Source: OpenAPI 3.1.0.
"""

from typing import Any, Final

from pulse_bridge import __version__
from pulse_bridge.event import KINDS, STATES
from pulse_bridge_web.gate import QUERY_BYTES
from pulse_bridge_web.history import LIMIT, MOST

LATEST_S: Final = 10**12
"""The last Unix second that may be asked for."""

_INSTANT: Final = {"type": "string", "format": "date-time"}
_ASKED_INSTANT: Final = {
    "anyOf": [_INSTANT, {"type": "integer", "minimum": 0, "maximum": LATEST_S, "description": "Unix seconds."}]
}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_NUMBER: Final = {"type": "number"}
_REASON: Final = {"type": ["string", "null"]}
_HEARING: Final = {
    "enum": ["heard", "unheard", "silent", "stopped"],
    "description": "Whether the host's sidecar speaks; if not, what is known of its jobs is the last known.",
}
_EVENT_FIELDS: Final[dict[str, Any]] = {
    "id": _TEXT,
    "kind": {"enum": [kind for kind in KINDS if kind != "host"]},
    "host": _TEXT,
    "job": _TEXT,
    "run": {"type": "integer", "description": "Unix seconds that name the training run."},
    "state": {"enum": list(STATES)},
    "status": {"enum": ["idle", "running", "done", "error"]},
    "epoch": _NUMBER,
    "total_epochs": _NUMBER,
    "loss": {"type": "number", "description": "Absent where it is not finite; `diverged` is then true."},
    "message": _TEXT,
    "timestamp": {"type": "integer", "description": "Unix seconds at which the training wrote."},
    "progress": {"type": "number", "minimum": 0, "maximum": 100},
    "eta_s": {"type": "number", "minimum": 0, "description": "Absent until known."},
    "diverged": _FLAG,
    "step": {"type": "integer"},
    "total_steps": {"type": "integer"},
    "learning_rate": _NUMBER,
    "observed_at": _INSTANT,
}
_EVENT_ALWAYS: Final = [
    name for name in _EVENT_FIELDS if name not in {"loss", "eta_s", "step", "total_steps", "learning_rate"}
]


def _object(required: list[str], **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON Schema
    return {"type": "object", "required": required, "properties": properties}


def _list(of: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}


def _schemas() -> dict[str, Any]:
    labels = {"^label_": _TEXT}
    event = {**_object(_EVENT_ALWAYS, **_EVENT_FIELDS), "patternProperties": labels}
    point = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
    spark = {"type": "array", "items": point, "maxItems": 60, "description": "[epoch, loss], oldest first."}
    job = {
        **_object([*_EVENT_ALWAYS, "hearing", "spark"], **_EVENT_FIELDS, hearing=_HEARING, spark=spark),
        "patternProperties": labels,
    }
    host = _object(
        ["host", "hearing", "last_seen"],
        host=_TEXT,
        hearing=_HEARING,
        last_seen=_INSTANT,
        version=_TEXT,
        stopping=_FLAG,
        malformed=_COUNT,
        dropped=_COUNT,
        lag={"type": "object", "additionalProperties": _COUNT},
    )
    fleet = _object(
        ["connected", "reason", "now", "source", "version", "hosts", "jobs"],
        connected=_FLAG,
        reason=_REASON,
        now=_INSTANT,
        source={"type": "string", "description": "The bus, without a secret."},
        version={"type": "string", "description": "What `Last-Event-ID` goes on from."},
        hosts=_list("Host"),
        jobs=_list("Job"),
    )
    kept = {"type": "boolean", "description": "False where the bus keeps no past: asking again is in vain."}
    past = _object(
        ["events", "complete", "reason", "kept"],
        events=_list("Event"),
        complete=_FLAG,
        reason=_REASON,
        kept=kept,
    )
    health = _object(["ok", "reason"], ok=_FLAG, reason=_REASON)
    error = _object(["error"], error={"type": "string", "description": "One sentence for a person."})
    return {
        "Event": event,
        "Job": job,
        "Host": host,
        "Fleet": fleet,
        "Past": past,
        "Health": health,
        "Error": error,
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


_BAD: Final = {
    "401": _answer("A token is asked for, and was not shown.", "Error"),
    "414": _answer(f"What stands behind the `?` is longer than {QUERY_BYTES} bytes.", "Error"),
}


def _get(name: str, summary: str, answers: dict[str, Any], **rest: Any) -> dict[str, Any]:  # noqa: ANN401 - OpenAPI
    return {"get": {"operationId": name, "summary": summary, "responses": {**answers, **_BAD}, **rest}}


def _in_path(name: str, description: str) -> dict[str, Any]:
    # In a path `.` and `..` mean something else, for whoever sends it and for what is between.
    schema = {"type": "string", "minLength": 1, "not": {"enum": [".", ".."]}}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _in_query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_DOTS: Final = "A name that is `.` or `..`, or that with `~` behind it, is written with one `~` more behind it."
_JOB: Final = [
    _in_path("host", f"The host's name. {_DOTS}"),
    _in_path("job", f"The job's name; a slash in it may be written as such or as %2F. {_DOTS}"),
]
_RANGE: Final = [
    _in_query("since", "From this instant on (`observed_at`).", _ASKED_INSTANT),
    _in_query("until", "Before this instant.", _ASKED_INSTANT),
    _in_query("run", "Of this run only.", {"type": "integer", "minimum": 0, "maximum": LATEST_S}),
    _in_query(
        "limit",
        "At most so many events, the newest of the range.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
    ),
    _in_query("heartbeats", "Heartbeats, too.", {"type": "boolean", "default": False}),
]
_STREAM: Final = """Server-sent events, each with an `id`. First `snapshot`: what `GET /api/jobs` gives; with
`"gap": true` where `Last-Event-ID` was sent and cannot be gone on from. Then, at most four times a second,
`update`: `{"now", "jobs", "hosts", "removed", "hosts_removed"}` with the newest state of what changed, without
`spark`; and `connection`: `{"connected", "reason"}`. `ping` every 15 s where nothing happens."""


def make_document(base_path: str) -> dict[str, Any]:
    """Give the document.

    Args:
        base_path: Without a slash at its end.
    """
    stream = {"description": "The stream.", "content": {"text/event-stream": {"schema": _TEXT}}}
    last = {"name": "Last-Event-ID", "in": "header", "schema": _TEXT}
    return {
        "openapi": "3.1.0",
        "info": {"title": "pulse-bridge", "version": __version__, "summary": "Every training job, live."},
        "servers": [{"url": base_path or "/"}],
        "security": [{}, {"token": []}],
        "paths": {
            "/api/jobs": _get("jobs", "Every job and host.", {"200": _answer("What is so now.", "Fleet")}),
            "/api/jobs/{host}/{job}": _get(
                "job",
                "One job.",
                {"200": _answer("What is so now.", "Job"), "404": _answer("There is no such job.", "Error")},
                parameters=_JOB,
            ),
            "/api/jobs/{host}/{job}/history": _get(
                "history",
                "The past of a job, oldest first.",
                {
                    "200": _answer("What the bus has of it; if not all, `reason` says why.", "Past"),
                    "400": _answer("A parameter is wrong.", "Error"),
                    "404": _answer("The address names no job.", "Error"),
                    "503": _answer("Too many ask at once.", "Error"),
                },
                parameters=[*_JOB, *_RANGE],
            ),
            "/events": _get("events", "What happens.", {"200": stream}, parameters=[last], description=_STREAM),
            "/healthz": _get(
                "health",
                "Whether what is shown is the present.",
                {"200": _answer("It is.", "Health"), "503": _answer("It is not.", "Health")},
            ),
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
