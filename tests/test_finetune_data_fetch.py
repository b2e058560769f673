"""A public set out of packages: the same bytes each time, with a card; what is in the way or lacking is said."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data.fetch import SETS, fetch
from pipelines.errors import CinquainError, InputError
from tests.doubles.data_rows import lines_of
from tests.doubles.wheels import LICENCE, chat, chats, language_pack, pin, use, write_wheel

TALK = ("a: Hi", "b: Hello there", "a: How are you?", "b: Fine")


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Language packs in the place of the real ones: French, Brazilian Portuguese, Chinese."""
    said = {f"Open file {number}": number for number in range(10)}
    found = {
        language: language_pack(
            tmp_path / "wheels", code, language, jupyterlab={key: [f"{word} {n}"] for key, n in said.items()}
        )
        for code, language, word in (("fr-FR", "fr", "Ouvrir"), ("pt-BR", "pt-BR", "Abrir"), ("zh-CN", "zh-CN", "打开"))
    }
    use(monkeypatch, "jupyterlab-ui", *(pinned for _, pinned in found.values()))
    return {language: path for language, (path, _) in found.items()}


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel of the chats, with ten of them."""
    data = {f"chat{number}": chat(*TALK, f"b: It is {number}") for number in range(10)}
    path, pinned = chats(tmp_path / "wheels", data)
    use(monkeypatch, "chitchat", pinned)
    return path


def test_rows_and_card(talks: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "chats.jsonl"
    result = fetch("chitchat", out, source=talks)
    rows = out.read_bytes()
    assert (result.path, result.card, result.rows) == (out, tmp_path / "made/chats.jsonl.card.json", 10)
    assert result.sha256 == hashlib.sha256(rows).hexdigest()
    card = json.loads(result.card.read_text(encoding="utf-8"))
    assert card.pop("changes")
    assert card == {
        "schema_version": 1,
        "set": "chitchat",
        "task": "dialogue",
        "use": "training",
        "licence": "MIT",
        "languages": ["en"],
        "rows": 10,
        "rows_of_the_whole_set": 10,
        "sha256": result.sha256,
        "left_out": {},
        "packages": [
            {
                "name": "chitchat-dataset",
                "version": "1.0",
                "sha256": hashlib.sha256(talks.read_bytes()).hexdigest(),
                "url": "https://pypi.org/project/chitchat-dataset/1.0/",
                "licence_text": LICENCE.replace("\r\n", "\n").strip(),
            }
        ],
    }
    before = result.card.read_bytes()
    fetch("chitchat", out, source=talks)
    assert (out.read_bytes(), result.card.read_bytes()) == (rows, before)
    assert sorted(path.name for path in out.parent.iterdir()) == ["chats.jsonl", "chats.jsonl.card.json"]


def test_every_set_says_what_it_is_for() -> None:
    assert {name: one.use for name, one in SETS.items()} == {
        "jupyterlab-ui": "training",
        "chitchat": "training",
        "python-functions": "training",
        "shakespeare": "training",
        "humaneval": "benchmark",
    }
    for one in SETS.values():
        assert all((one.licence, one.changes, one.languages, one.pins or one.origin))
        assert all(len(pinned.sha256) == 64 and "==" in pinned.requirement and pinned.size for pinned in one.pins)
        assert {pinned.language for pinned in one.pins} - {""} <= set(one.languages)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 15))
def test_a_limit_is_spread_evenly(talks: Path, tmp_path: Path, limit: int) -> None:
    out = tmp_path / "chats.jsonl"
    result = fetch("chitchat", out, source=talks, limit=limit)
    places = [int(row["doc"].removeprefix("chat")) for row in lines_of(out)]
    assert len(places) == result.rows == min(limit, 10)
    assert json.loads(result.card.read_text())["rows_of_the_whole_set"] == 10
    gaps = {after - before for before, after in zip(places, [*places[1:], places[0] + 10], strict=True)}
    assert max(gaps) - min(gaps) <= 1


def test_languages_in_any_spelling_and_wheels_in_any_order(packs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "ui.jsonl"
    fetch("jupyterlab-ui", out, source=[packs["zh-CN"], packs["fr"], packs["pt-BR"]])
    every = out.read_bytes()
    assert [row["tgt_lang"] for row in lines_of(out)] == ["fr"] * 10 + ["pt-BR"] * 10 + ["zh-CN"] * 10
    fetch("jupyterlab-ui", out, source=[packs["pt-BR"], packs["zh-CN"], packs["fr"], packs["zh-CN"]])
    assert out.read_bytes() == every
    result = fetch("jupyterlab-ui", out, source=list(packs.values()), languages=["fr-FR", "pt"])
    assert {row["tgt_lang"] for row in lines_of(out)} == {"fr", "pt-BR"}
    card = json.loads(result.card.read_text())
    assert (card["languages"], len(card["packages"])) == (["en", "fr", "pt-BR"], 2)
    fetch("jupyterlab-ui", out, source=packs["zh-CN"])  # a wheel says by itself which language it is
    assert {row["tgt_lang"] for row in lines_of(out)} == {"zh-CN"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"name": "chitchats"}, "data_fetch_unknown", "chitchat"),
        ({"name": "jupyterlab_ui"}, "data_fetch_unknown", "jupyterlab-ui"),
        ({"limit": 0}, "data_fetch_limit", "1 or more"),
        ({"languages": ["ja"]}, "data_fetch_language", "fr, pt-BR, zh-CN"),
        ({"languages": ["fr", "zh-CN"], "source": "fr"}, "data_fetch_wheel_lacking", "zh-CN==4.5"),
        ({"source": "nowhere.whl"}, "data_fetch_no_such_file", "nowhere.whl"),
        ({"source": "."}, "data_fetch_no_such_file", "."),
        ({"source": "other.whl"}, "data_fetch_wrong_wheel", "jupyterlab-language-pack-fr-FR==4.5"),
        ({"name": "python-functions", "source": "fr"}, "data_fetch_no_wheel", "--from"),
    ],
)
def test_what_cannot_be_done_is_said(
    packs: dict[str, Path], tmp_path: Path, arguments: dict[str, object], code: str, words: str
) -> None:
    (tmp_path / "other.whl").write_bytes(packs["fr"].read_bytes() + b"\0")
    given = {"name": "jupyterlab-ui", **arguments}
    if source := given.pop("source", None):
        given["source"] = packs.get(str(source), tmp_path / str(source))
    with pytest.raises(InputError) as error:
        fetch(out=tmp_path / "out" / "rows.jsonl", **given)  # type: ignore[arg-type]
    assert error.value.code == code
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_offline_says_how_to_bring_the_wheel(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network_attempts: list[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CinquainError, match="HF_HUB_OFFLINE forbids it") as error:
        fetch("chitchat", tmp_path / "rows.jsonl")
    assert "`cinquain data fetch chitchat --from FILE.whl`" in str(error.value)
    assert not network_attempts
    assert fetch("chitchat", tmp_path / "rows.jsonl", source=talks).rows == 10


def test_pip_brings_the_wheel_and_other_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talks: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(talks.parent))
    out = tmp_path / "out" / "rows.jsonl"
    assert fetch("chitchat", out).rows == 10
    before = out.read_bytes()
    write_wheel(talks.parent, "chitchat-dataset", "1.0", {"chitchat_dataset/dataset.json": "{}"})
    with pytest.raises(CinquainError) as error:
        fetch("chitchat", out)
    assert error.value.code == "data_fetch_other_bytes"
    assert out.read_bytes() == before
    assert list(temporary.iterdir()) == []


def test_a_file_of_a_person_is_never_replaced(talks: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    card = tmp_path / "rows.jsonl.card.json"

    def refused(name: str = "chitchat") -> None:
        there = {path: path.read_bytes() for path in (out, card) if path.is_file()}
        with pytest.raises(InputError) as error:
            fetch(name, out, source=talks if name == "chitchat" else packs["fr"])
        assert error.value.code == "data_fetch_in_the_way"
        assert {path: path.read_bytes() for path in (out, card) if path.is_file()} == there

    out.write_text("mine\n")
    refused()
    for content in (b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"set": "chitchat"}', b'{"set": "shakespeare"}'):
        card.write_bytes(content)
        refused()
    out.unlink()
    refused()  # the card alone is a person's, too
    card.unlink()
    fetch("chitchat", out, source=talks)
    refused("jupyterlab-ui")
    with out.open("ab") as file:
        file.write(b'{"messages": []}\n')
    refused()  # somebody has worked on it
    out.unlink()
    assert fetch("chitchat", out, source=talks).rows == 10
    out.unlink()
    out.mkdir()
    refused()


def test_nothing_left_over_is_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = chats(tmp_path, {"one": chat("a: Hi", "b: Hello")})
    use(monkeypatch, "chitchat", pinned)
    with pytest.raises(CinquainError, match="without a single row") as error:
        fetch("chitchat", tmp_path / "rows.jsonl", source=path)
    assert "chitchat-dataset" in str(error.value)
    assert not (tmp_path / "rows.jsonl").exists()


def test_half_of_a_surrogate_pair_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = chats(tmp_path, {"one": chat(*TALK), "two": chat(*TALK[:-1], "b: \ud83d")})
    use(monkeypatch, "chitchat", pinned)
    result = fetch("chitchat", tmp_path / "rows.jsonl", source=path)
    assert (result.rows, result.left_out) == (1, {"not_unicode": 1})


def test_the_wheel_of_another_set_is_the_wrong_one(talks: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=pin(packs["fr"], "x").sha256[:16]) as error:
        fetch("chitchat", tmp_path / "rows.jsonl", source=packs["fr"])
    assert pin(talks, "x").sha256[:16] in str(error.value)
