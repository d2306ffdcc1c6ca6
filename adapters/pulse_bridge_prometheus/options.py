"""What may stand behind `prometheus?`."""

from typing import Annotated

from pydantic import Field

from pulse_bridge.subscriber import SubscriberOptions

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PrometheusOptions(SubscriberOptions):
    """The options of the subscriber.

    Args:
        port: TCP port of `/metrics` and `/healthz`.
        bind: Address or name to listen on. Whoever reaches it can read every job's name and labels.
        keep_finished_s: The series of a job leave so many seconds after it was done, error or gone.
        keep_silent_s: A silent host is shown as down for so many seconds after its last word.
    """

    port: Annotated[int, Field(ge=1, le=65_535)] = 9464
    bind: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    keep_finished_s: _Seconds = 3600.0
    keep_silent_s: _Seconds = 86_400.0
