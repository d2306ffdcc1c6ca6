"""An event as a line that a person reads; pure."""

from functools import lru_cache

from pulse_bridge.event import Event, HostEvent, JobEvent, Number, format_time
from pulse_bridge.printable import printable


def format_event(event: Event) -> str:
    """Write one event as one line: time, host and job, kind, then what is so now."""
    begin = f"{format_time(event.observed_ms)}  "
    if isinstance(event, HostEvent):
        return f"{begin}{printable(event.host)}  {'host':9}  {_describe_host(event)}"
    name = _name(event.host, event.job)
    return f"{begin}{name}  {event.kind:9}  {event.state:7}  {_describe_job(event)}".rstrip()


@lru_cache(maxsize=1024)
def _name(host: str, job: str) -> str:
    """Name a job. Those of a week are few, and come again and again."""
    return f"{printable(host)}/{printable(job)}"


def _describe_job(event: JobEvent) -> str:
    eta = "" if event.eta_s is None else f"  ETA {format_span(event.eta_s)}"
    message = f"  {printable(event.message)}" if event.message else ""
    return f"{event.progress:5.1f} %  epoch {format_epoch(event)}  loss {format_loss(event)}{eta}{message}"


def _describe_host(event: HostEvent) -> str:
    parts = ["stopping" if event.stopping else f"sidecar {printable(event.version)}"]
    parts += [f"{count} {state}" for state, count in event.jobs.items() if count]
    parts += [f"{count} not yet at {printable(name)}" for name, count in event.lag.items() if count]
    parts += [f"{event.malformed} malformed"] if event.malformed else []
    parts += [f"{event.dropped} dropped"] if event.dropped else []
    return ", ".join(parts)


def format_epoch(event: JobEvent) -> str:
    """Write the position in training, e.g. `1.5/3`."""
    return f"{_short(event.epoch)}/{_short(event.total_epochs)}"


def _short(value: Number) -> str:
    """Write a number of epochs with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1e9 else f"{value:g}"  # noqa: PLR2004 - a width


def format_loss(event: JobEvent) -> str:
    """Write the loss to four decimals, and one that is far larger or smaller in powers of ten."""
    if event.loss is None:
        return "NaN" if event.diverged else "-"
    if event.loss and not 1e-4 <= abs(event.loss) < 1e6:  # noqa: PLR2004 - what four decimals show
        return f"{event.loss:.4e}"
    return f"{event.loss:.4f}"


def format_span(seconds: float) -> str:
    """Write a span of time in its two largest units, e.g. `42 s`, `3 min 05 s`, `2 h 10 min`, `4 d 3 h`."""
    whole = max(0, int(seconds))
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hours} h {minute:02d} min" if hours else f"{minutes} min {second:02d} s"
