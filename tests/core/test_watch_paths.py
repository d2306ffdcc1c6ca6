import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulse_bridge.errors import ConfigError
from pulse_bridge.watch_context import MAX_LABEL_CHARS, MAX_LABELS, parse_labels
from pulse_bridge.watch_paths import FilePath, JobNames, Search, job_name, parse_paths

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def name_of(path: str, file: str) -> str:
    """Give the job name of a file that a PATH leads to."""
    return job_name(parse_paths([path])[0], str(Path(file).absolute()))


def test_what_does_not_exist_is_a_file_to_come_if_it_ends_in_json_and_a_folder_otherwise(here: Path) -> None:
    assert parse_paths(["a/x.json"]) == [FilePath(f"{here}/a/x.json", None)]
    target = parse_paths(["a/runs"])[0]
    assert isinstance(target, Search)
    assert target.root == f"{here}/a/runs"


def test_what_exists_is_what_it_is_whatever_its_name(here: Path) -> None:
    (here / "x.json").mkdir()
    (here / "plain").touch()
    (here / "a[1]").mkdir()
    (here / "n=v").mkdir()
    (here / "m=v.json").touch()
    assert isinstance(parse_paths(["x.json"])[0], Search)
    assert parse_paths(["plain"]) == [FilePath(f"{here}/plain", None)]
    assert [target.root for target in parse_paths(["a[1]", "n=v"])] == [f"{here}/a[1]", f"{here}/n=v"]
    assert parse_paths(["m=v.json"]) == [FilePath(f"{here}/m=v.json", None)]


def test_a_name_is_what_stands_before_the_first_equals_sign(here: Path) -> None:
    assert parse_paths(["my job=out/lr=1.json"]) == [FilePath(f"{here}/out/lr=1.json", "my job")]
    assert parse_paths(["job=status"]) == [FilePath(f"{here}/status", "job")]


def test_an_equals_sign_behind_a_slash_makes_no_name(here: Path) -> None:
    assert parse_paths(["runs/lr=0.1/x.json"]) == [FilePath(f"{here}/runs/lr=0.1/x.json", None)]
    assert isinstance(parse_paths(["runs/lr=*/training_status.json"])[0], Search)


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        ([""], "PATH is empty"),
        (["a="], "no file after '='"),
        (["=x.json"], "name before '=' is empty"),
        (["a=folder"], "folder is a folder"),
        (["a=to_come/"], "is a folder"),
        (["a=runs/*.json"], "is a glob"),
        (["a=x.json", "a=y.json"], "named 'a' already"),
        (["a=x.json", "b=x.json"], "named 'a' already"),
        (["a\0"], "NUL"),
    ],
)
def test_a_refusal_names_the_path_and_the_remedy(here: Path, paths: list[str], sentence: str) -> None:
    (here / "folder").mkdir()
    with pytest.raises(ConfigError, match=sentence):
        parse_paths(paths)


def test_the_same_path_twice_counts_once() -> None:
    assert len(parse_paths(["runs", "./runs", "x.json", "x.json", "a=y.json", "a=y.json"])) == 3


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert parse_paths(["~/runs/s.json"]) == [FilePath("/home/x/runs/s.json", None)]


@pytest.mark.parametrize(
    ("path", "file", "name"),
    [
        ("runs", "runs/llm/run a/training_status.json", "llm/run a"),
        ("runs", "runs/training_status.json", "runs"),
        ("runs/llm/training_status.json", "runs/llm/training_status.json", "llm"),
        ("runs/llm/my.job.json", "runs/llm/my.job.json", "my.job"),
        ("runs/*/training_status.json", "runs/a/training_status.json", "a"),
        ("runs/*/*/training_status.json", "runs/a/b/training_status.json", "a/b"),
        ("*/status.json", "a/status.json", "status"),
        ("mine=runs/training_status.json", "runs/training_status.json", "mine"),
        ("/training_status.json", "/training_status.json", "root"),
        (".json", ".json", ".json"),
    ],
)
def test_a_job_is_called_after_its_folder_or_its_file(path: str, file: str, name: str) -> None:
    assert name_of(path, file) == name


def test_the_top_of_the_current_folder_is_called_after_that(here: Path) -> None:
    assert name_of(".", "training_status.json") == here.name


def matches(pattern: str, path: str) -> bool:
    search = parse_paths([pattern])[0]
    assert isinstance(search, Search)
    below = os.path.relpath(Path(path).absolute(), search.root)
    states = search.start
    *folders, name = below.split("/")
    for folder in folders:
        states = search.advance(states, folder)
    return search.accepts(states, name)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("runs/*.json", "runs/a.json", True),
        ("runs/*.json", "runs/a.json.tmp", False),
        ("runs/*.json", "runs/b/a.json", False),
        ("runs/*.json", "runs/.a.json", False),
        ("runs/.*.json", "runs/.a.json", True),
        ("runs/*.json", "runs/training_context.json", False),
        ("runs/**/s.json", "runs/s.json", True),
        ("runs/**/s.json", "runs/a/b/s.json", True),
        ("runs/**/s.json", "runs/a/.b/s.json", False),
        ("runs/**/x/**/s.json", "runs/a/x/s.json", True),
        ("runs/**/x/**/s.json", "runs/a/s.json", False),
        ("runs/[ab]?/s.json", "runs/a1/s.json", True),
        ("runs/[ab]?/s.json", "runs/c1/s.json", False),
        ("runs/*", "runs/a.json", True),
        ("runs/*", "runs/a.txt", False),
        ("runs/*", "runs/a/b/training_status.json", True),
        ("runs/*", "runs/a/b/other.json", False),
        ("runs/*.status", "runs/a.status", True),
        ("runs", "runs/.pulse-0123456789abcdef.tmp", False),
        ("runs", "runs/training_status.json.tmp", False),
    ],
)
def test_a_pattern_matches_as_in_a_shell(pattern: str, path: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert matches(pattern, path) is expected


parts = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda part: part not in {".", ".."}
)
file_paths = st.lists(parts, min_size=1, max_size=4).map("/".join)


@unhurried
@given(st.lists(st.tuples(file_paths, st.sampled_from(["training_status.json", "a.json", "b"])), max_size=20))
def test_job_names_are_text_unique_and_stable(found: list[tuple[str, str]]) -> None:
    target = Search("/data", ())
    names = JobNames([FilePath("/x", "a")])
    files = list(dict.fromkeys(f"/data/{folder}/{name}" for folder, name in found))
    given_names = [names.name(target, file) for file in files]
    assert len({*given_names, "a"}) == len(files) + 1
    assert [names.name(target, file) for file in files] == given_names
    for name in given_names:
        assert name
        name.encode()


@unhurried
@given(st.binary(min_size=1, max_size=30).filter(lambda raw: not {0, 47} & set(raw) and raw not in {b".", b".."}))
def test_a_name_of_any_bytes_makes_text(raw: bytes) -> None:
    name = job_name(Search("/data", ()), f"/data/{os.fsdecode(raw)}/training_status.json")
    assert name.encode().decode() == name


def test_labels_are_text_numbers_and_flags_of_a_flat_object() -> None:
    text = '{"profile":"TRIZ ✓","rank":8,"lr":2e-05,"lora":true,"x":null,"y":{"z":1},"a b":"c"}'
    assert parse_labels(b"\xef\xbb\xbf" + text.encode(), "x") == {
        "profile": "TRIZ ✓",
        "rank": "8",
        "lr": "2e-05",
        "lora": "true",
    }


def test_labels_are_limited_in_number_and_length() -> None:
    content = b"{" + b",".join(b'"l%d":"%s"' % (number, b"x" * 999) for number in range(50)) + b"}"
    labels = parse_labels(content, "x")
    assert len(labels) == MAX_LABELS
    assert {len(value) for value in labels.values()} == {MAX_LABEL_CHARS}


def test_a_label_can_always_go_on_as_text() -> None:
    for value in parse_labels(b'{"a":"\\ud800","b":"ok"}', "x").values():
        value.encode()
