"""What becomes a row of each public set, what is left out and why, and that preparation knows the rows' shapes."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.data.fetch import fetch
from pipelines.errors import CinquainError
from pipelines.text.protect import missing
from tests.doubles.data_rows import counting_model, lines_of, prepared_rows
from tests.doubles.wheels import chat, chats, exercises, language_pack, plays, use


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return counting_model(tmp_path_factory.mktemp("model"))


def test_messages_of_jupyterlab(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = 'Turn it off:\n{\n  "disabled": true\n}'
    path, pinned = language_pack(
        tmp_path,
        "fr-FR",
        "fr",
        jupyterlab={
            "menu\x04 Open %1 ": ["Ouvrir %1"],
            "Close": ["Fermer"],
            "Delete %1 cell": ["Supprimer %1 cellule", "Supprimer %1 cellules"],
            "Files are shown\n            in the side bar.": ["Les fichiers sont dans la barre."],
            "One.\n\nTwo.": ["Un.\n\nDeux."],
            "Not done": [""],
            "Notebook": ["notebook"],
            "%1 / %2": ["%1 sur %2"],
            "Copy this cell": ["Copier %1 cellules"],
            "By %1 of %2": ["De %1"],
            "Since %1": ["Depuis 1"],
            "See <a href='x'>this</a>": ["Voir <a href='x'>ceci</a>"],
            settings: [settings.replace("Turn it off", "Pour désactiver").replace("true", "vrai")],
        },
        jupyterlab_git={"Close": ["Clore"], "Push": ["Pousser"]},
        notebook={"Close": ["Clore"], "Push": ["Pousser"]},
    )
    use(monkeypatch, "jupyterlab-ui", pinned)
    out = tmp_path / "ui.jsonl"
    result = fetch("jupyterlab-ui", out, source=path)
    rows = lines_of(out)
    assert {row["source"]: row["target"] for row in rows} == {
        "Open %1": "Ouvrir %1",
        "Close": "Clore",  # what most say
        "Delete %1 cell": "Supprimer %1 cellule",
        "Files are shown in the side bar.": "Les fichiers sont dans la barre.",
        "One.\n\nTwo.": "Un.\n\nDeux.",
        "Push": "Pousser",
    }
    assert result.left_out == {
        "empty": 1,
        "markup": 1,
        "no_words": 1,
        "other_translation": 1,
        "placeholder_added": 1,
        "placeholder_lost": 2,
        "repeated": 2,
        "settings": 1,
        "untranslated": 1,
    }
    assert len({row["doc"] for row in rows}) == len(rows)
    assert all(not missing(row["source"], row["target"]) for row in rows)
    taken = prepared_rows("jupyterlab-ui", out, model, tmp_path / "prepared")
    assert {(row["request"]["source"], row["request"]["target"]) for row in taken} == {("en", "fr")}
    assert {row["reply"] for row in taken} == {row["target"] for row in rows}


def test_translations_of_a_message_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (("fr-FR", "fr", "Fermer"), ("de-DE", "de", "Schließen"))
    packs = [language_pack(tmp_path, code, tag, jupyterlab={"Close": [word]}) for code, tag, word in said]
    use(monkeypatch, "jupyterlab-ui", *(pinned for _, pinned in packs))
    fetch("jupyterlab-ui", tmp_path / "ui.jsonl", source=[path for path, _ in packs])
    first, second = lines_of(tmp_path / "ui.jsonl")
    assert first["doc"] == second["doc"]


@pytest.mark.parametrize("messages", [{"a": []}, {"a": "b"}, {"a": [1]}])
def test_a_pack_of_another_form(messages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = language_pack(tmp_path, "fr-FR", "fr", jupyterlab=messages)
    use(monkeypatch, "jupyterlab-ui", pinned)
    with pytest.raises(CinquainError, match="has no list of translations"):
        fetch("jupyterlab-ui", tmp_path / "ui.jsonl", source=path)


def test_chats(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = ("b: Hi", "b: Anyone here?", "a: Me", "b: Good", "b:  ", "a: And you?")
    data = {
        "kept": chat(*talk, "b: Bye", prompt=None),
        "alone": chat("a: Hello?", "a: Nobody"),
        "three": chat("a: Hi", "b: Hi", "c: Hi", "a: Three", "b: Yes"),
        "short": chat("a: Hi", "b: Hi", "a: Bye"),
        "mocking": chat(*("a: f", "b: f") * 4),
        "monologue": chat(*talk, f"a: {'And then. ' * 300}"),
    }
    path, pinned = chats(tmp_path, data)
    use(monkeypatch, "chitchat", pinned)
    out = tmp_path / "chats.jsonl"
    result = fetch("chitchat", out, source=path)
    (row,) = lines_of(out)
    assert row == {
        "messages": [
            {"role": "user", "content": "Hi\nAnyone here?"},
            {"role": "assistant", "content": "Me"},
            {"role": "user", "content": "Good"},
            {"role": "assistant", "content": "And you?"},
        ],
        "lang": "en",
        "topic": "",
        "doc": "kept",
    }
    assert result.left_out == {"few_turns": 1, "monologue": 1, "not_two_speakers": 2, "repeats": 1}
    assert [taken["reply"] for taken in prepared_rows("chitchat", out, model, tmp_path / "prepared")] == ["And you?"]


VERSE = "  \n".join(["Shall I compare the moon unto a lamp", "That burns all night and is not ever damp?"] * 3)
PLAY = f"""# A Play

## ACT I

### SCENE I. Verona. A street.

_Enter ANNA and BERT_

**ANNA**  \n{VERSE}

_Aside_

I speak on, _turning to Bert_, and \\[sigh\\].

**BERT & Second Lord**  \n{VERSE}

_Exeunt_

A PLAY

### SCENE II. The same. A room in ANNA's house, with a bed and

a lamp burning.

SONG.

**ANNA**  \n{VERSE}

### SCENE III. The same.

COUNTESS

**OF AUVERGNE**  \n{VERSE}

**OF NOWHERE**  \nHello.

## EPILOGUE

**Chorus**  \nThe end.
"""


def test_scenes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = plays(tmp_path, a_play=PLAY)
    use(monkeypatch, "shakespeare", pinned)
    out = tmp_path / "scenes.jsonl"
    result = fetch("shakespeare", out, source=path)
    verse = VERSE.replace("  \n", "\n")
    scene, speech = lines_of(out)
    assert scene == {
        "brief": "Write a scene for the stage in the manner of Shakespeare, with ANNA, BERT and SECOND LORD. "
        "Place: Verona. A street.",
        "text": f"[Enter ANNA and BERT]\n\nANNA\n{verse}\n\n[Aside]\n\nI speak on, [turning to Bert], and [sigh].\n\n"
        f"BERT & SECOND LORD\n{verse}\n\n[Exeunt]",
        "form": "script",
        "length": "medium",
        "language": "en",
        "doc": "a-play",
        "place": "ACT I SCENE I. Verona. A street., 1/1",
    }
    assert speech["brief"].endswith(
        "spoken by ANNA. Place: Verona. A room in ANNA's house, with a bed and a lamp burning."
    )
    assert (speech["text"], speech["form"]) == (f"ANNA\n{verse}", "free")
    assert result.left_out == {"no_speaker": 1, "short": 1}
    taken = prepared_rows("shakespeare", out, model, tmp_path / "prepared")
    assert {row["request"].get("form", "free") for row in taken} == {"script", "free"}


def test_long_scenes_are_cut_between_speeches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeches = [f"**{'ANNA' if n % 2 else 'BERT'}**  \nLine {n}. {'Words, words, words. ' * 20}" for n in range(50)]
    goes_on = [f"_Reads_\n\nOn and on, {n}." for n in range(50)]
    comes = ["_Enter a Messenger_"] * 50
    blocks = "\n\n".join(part for each in zip(comes, speeches, goes_on, strict=True) for part in each)
    path, pinned = plays(tmp_path, long=f"# Long\n\n## ACT I\n\n### SCENE I. A wood.\n\n{blocks}\n")
    use(monkeypatch, "shakespeare", pinned)
    fetch("shakespeare", tmp_path / "scenes.jsonl", source=path)
    rows = lines_of(tmp_path / "scenes.jsonl")
    sizes = [len(row["text"]) for row in rows]
    assert max(sizes) <= 4000
    assert min(sizes) > 0.7 * max(sizes)  # no scrap at the end
    for row in rows:
        assert row["text"].startswith("[Enter a Messenger]\n\n")
        assert row["text"].rpartition("\n\n")[2].startswith("On and on")
    spoken = [line for row in rows for line in row["text"].split("\n") if line.startswith(("Line", "On and on"))]
    assert [line.split(".")[0] for line in spoken[::2]] == [f"Line {n}" for n in range(50)]
    assert len(spoken) == 100


def test_humaneval_has_its_columns_and_says_that_it_measures(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "task_id": "HumanEval/0",
        "prompt": 'def one():\n    """Return 1."""\n',
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    path, pinned = exercises(tmp_path, json.dumps(row).encode() + b"\n")
    use(monkeypatch, "humaneval", pinned)
    out = tmp_path / "humaneval.jsonl"
    card = fetch("humaneval", out, source=path).card
    assert lines_of(out) == [
        {**row, "response": row["canonical_solution"], "doc": "HumanEval/0", "benchmark": "humaneval"}
    ]
    assert json.loads(card.read_text())["use"] == "benchmark"
    (taken,) = prepared_rows("humaneval", out, model, tmp_path / "prepared")
    assert taken["request"] == {"signature": row["prompt"].strip()}
    assert "assert candidate" not in json.dumps(taken)  # the judge's part is not shown to the model
    path, pinned = exercises(tmp_path, b'{"task_id": "HumanEval/0"}\n')
    use(monkeypatch, "humaneval", pinned)
    with pytest.raises(CinquainError, match="a row lacks one of"):
        fetch("humaneval", out, source=path)
