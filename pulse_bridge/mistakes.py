"""Words the mistakes in what a user wrote, all of them: options, tables, names that are nearly right."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError

from pulse_bridge.errors import ConfigError


class Mistakes:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a ConfigError that is raised within, and go on behind it."""
        try:
            yield
        except ConfigError as error:
            self._sentences += error.sentences

    def raise_if_any(self) -> None:
        """Raise what was noted.

        Raises:
            ConfigError: Something was; the first sentence is its text.
        """
        if self._sentences:
            raise ConfigError(self._sentences[0], also=self._sentences[1:])


def refuse_options(error: ValidationError, shown: object, model: type[BaseModel]) -> ConfigError:
    """Make one error of everything that a model found wrong with the options of a URL or a subscriber.

    Args:
        shown: The URL or subscriber without a secret.
        model: Of the options.
    """
    known = sorted(info.alias or name for name, info in model.model_fields.items())
    sentences = []
    for found in error.errors(include_url=False, include_input=False):
        name = str(found["loc"][0]) if found["loc"] else "?"
        if found["type"] == "extra_forbidden":
            near = near_name(name, known)
            sentences.append(f"{shown}: unknown option {name!r}; known are: {', '.join(known)}{near}")
        else:
            sentences.append(f"{shown}: option {name!r}: {found['msg']}")
    return ConfigError(sentences[0], also=sentences[1:])


def near_name(name: str, known: Iterable[str], *, start: str = "") -> str:
    """Give the end of a sentence that names what was probably meant; empty if nothing is near.

    Args:
        start: What all of them have in front, and so makes none nearer.
    """
    found = get_close_matches(name.removeprefix(start), [other.removeprefix(start) for other in known], n=1)
    return f"; did you mean {start + found[0]!r}?" if found else ""
