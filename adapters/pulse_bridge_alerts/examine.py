"""What `pulse-bridge doctor` finds out about the targets of alerts, without a message to anybody."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from pulse_bridge.doctor import Examination, Finding, as_sentence_and_remedy
from pulse_bridge.errors import ConfigError
from pulse_bridge_alerts.senders import open_senders
from pulse_bridge_alerts.targets import Target

_TIMEOUT_S: Final = 1.0
"""Of senders that send nothing."""

_CORRECT: Final = "correct the URL there"


async def examine(targets: Sequence[Target], examination: Examination) -> AsyncIterator[Finding]:
    """Make what would send to each target; a login there can only be tried by a message, so it is not."""
    for target in targets:
        try:
            async with open_senders([target], _TIMEOUT_S):
                pass
        except ConfigError as error:
            yield examination.problem(*as_sentence_and_remedy(error, _CORRECT))
        else:
            yield examination.fine(
                f"the URL of the target {target} is well formed; that it takes messages only a message would tell"
            )
