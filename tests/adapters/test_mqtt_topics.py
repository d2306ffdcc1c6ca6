import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse_bridge_mqtt.topics import (
    MAX_HOST_BYTES,
    MAX_JOB_BYTES,
    MAX_PREFIX_BYTES,
    MAX_TOPIC_BYTES,
    Topics,
    make_slug,
)

NAMES = st.text(st.characters(exclude_categories=()), max_size=60) | st.from_regex(r"[a-zA-Z0-9_/ .-]{1,40}")
LIMITS = st.sampled_from([MAX_HOST_BYTES, MAX_JOB_BYTES])
quick = settings(database=None, deadline=None)


@quick
@given(NAMES, LIMITS)
def test_a_slug_is_short_ascii_of_the_allowed_characters(name: str, limit: int) -> None:
    slug = make_slug(name, limit)
    assert re.fullmatch(r"[a-z0-9_-]+", slug)
    assert len(slug.encode()) <= limit


@quick
@given(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), LIMITS)
def test_a_name_that_is_a_slug_stays_as_it_is(name: str, limit: int) -> None:
    assert make_slug(name, limit) == name


@quick
@given(NAMES, NAMES, LIMITS)
def test_two_names_never_share_a_slug(one: str, other: str, limit: int) -> None:
    assert (make_slug(one, limit) == make_slug(other, limit)) == (one == other)


@quick
@given(NAMES, NAMES)
def test_no_topic_exceeds_the_limit_of_grafana(host: str, job: str) -> None:
    topics = Topics("p" * MAX_PREFIX_BYTES)
    for topic in (topics.state(host, job), topics.host(host), topics.bridge(host)):
        assert len(topic.encode("ascii")) <= MAX_TOPIC_BYTES
        assert not set("+#\0 ") & set(topic)
        assert len(topic.split("/")) in (3, 4)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("node1", "node1"),
        ("Node1", "node1-fea82e10"),
        ("llm/run a", "llm-run-a-d144c839"),
        ("ж", "dd591284"),
        ("a-name-that-is-longer-than-it-may-be", "a-name-that-is-long-a3ee9d3d"),
    ],
)
def test_a_slug_is_the_same_on_every_start(name: str, slug: str) -> None:
    assert make_slug(name, MAX_JOB_BYTES) == slug


def test_names_that_differ_in_case_or_in_what_is_cut_have_topics_of_their_own() -> None:
    names = ["Run", "run", "RUN", "run ", "run\n", "run/", "x" * 28, "x" * 29, "x" * 30]
    assert len({make_slug(name, MAX_JOB_BYTES) for name in names}) == len(names)
