"""What each path answers: a WSGI application over a way to read the present."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app

from pulse_bridge_prometheus.health import Health, judge, unavailable
from pulse_bridge_prometheus.metrics import families
from pulse_bridge_prometheus.view import View

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
_JSON: Final = ("Content-Type", "application/json")


class NoAnswerError(Exception):
    """The event loop did not tell what is so now; its text says why, in words."""


class _Families:
    """One moment as prometheus-client collects it."""

    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        return families(self._view)

    def describe(self) -> Iterable[Metric]:
        """Give the names, for a scrape that asks for some of them with `name[]`."""
        return families(replace(self._view, hosts=(), jobs=()))


def make_app(read_view: Callable[[], View]) -> WSGIApplication:
    """Make the application.

    Args:
        read_view: Called in the thread of each request; raises NoAnswerError.
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/healthz":
            return _answer_health(_judge_or_say_why(read_view), start_response)
        if path != "/metrics":
            start_response("404 Not Found", [_TEXT])
            return [b"Here are /metrics and /healthz.\n"]
        try:
            view = read_view()
        except NoAnswerError as error:
            start_response("503 Service Unavailable", [_TEXT])
            return [f"{error}\n".encode()]
        # A registry of its own, because all of a scrape is to be of one moment; it costs nothing.
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(view))
        answer: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
        return answer

    return app


def _judge_or_say_why(read_view: Callable[[], View]) -> Health:
    try:
        return judge(read_view())
    except NoAnswerError as error:
        return unavailable(str(error))


def _answer_health(health: Health, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK" if health.ok else "503 Service Unavailable", [_JSON, ("Cache-Control", "no-store")])
    return [json.dumps(health.body).encode() + b"\n"]
