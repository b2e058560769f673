"""``cinquain data prepare``: files and flags, or a YAML file; a short account at the end, else one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from apps.cli.data_inputs import Flags, configuration, parse_pairs
from apps.cli.main import main
from finetune.data.results import finished
from pipelines.errors import InputError
from tests.doubles.data_rows import counting_model, lines_of, plain_rows, planted, write_lines


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(counting_model(tmp_path_factory.mktemp("model")))


def test_files_and_flags_give_rows_and_an_account(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(Path("rows.jsonl"), planted())
    command = ["data", "prepare", "rows.jsonl", "-t", "summarization", "-m", model, "-o", "out"]
    assert main([*command, "split.validation=0.1"]) == 0
    captured = capsys.readouterr()
    ledger = finished(Path("out"))
    assert ledger is not None
    assert ledger.config["split"]["validation"] == 0.1
    for part in (
        "150 records were read, and 143 rows were written.",
        f"out/train.jsonl: {ledger.splits['train'].rows} rows, {ledger.splits['train'].tokens:,} tokens",
        "Rows dropped: 7",
        "1 exact_duplicates.duplicate Another row, which stays, says it already.",
        "1 personal_data.email E-mail addresses were replaced.",
        f"{ledger.tokens['before']:,} in the rows that were counted",
        "Rows longer than the limit: 0; cut there, 0.00 % of the rows",
        ledger.result_sha256,
        "out/ledger.html",
        "out/rejected.jsonl",
    ):
        assert part in " ".join(captured.out.split())
    assert "Reading rows.jsonl" in captured.err
    assert main([*command, "split.validation=0.1", "--json"]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert (data["read"], data["kept"], data["result_sha256"]) == (150, 143, ledger.result_sha256)
    assert "there is nothing to do" in captured.err
    assert main([*command, "--lang", "zh"]) == 2
    assert "请写入其他文件夹" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*command, "--lang", "zh"]) == 0
    assert "删除：7 行" in capsys.readouterr().out


def test_a_yaml_file_says_the_same_and_its_paths_are_relative_to_it(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sets").mkdir()
    write_lines(Path("sets/rows.jsonl"), [{"a": row["text"], "b": row["summary"]} for row in plain_rows(30)])
    write_lines(Path("sets/known.jsonl"), [plain_rows(30)[4]])
    Path("sets/data.yaml").write_text(
        "task: summarization\n"
        "sources: [{path: rows.jsonl, columns: {text: a, reply: b}}]\n"
        "overlap: [known.jsonl]\n"
        "languages: [no, en]\n"
        "split: {validation: 0.2}\n"
    )
    assert main(["data", "prepare", "sets/data.yaml", "--model", model, "--out", "out", "split.test=0.2"]) == 0
    ledger = finished(Path("out"))
    assert ledger is not None
    assert ledger.dropped() == {"overlap.benchmark": 1}
    assert ledger.config["languages"] == ["no", "en"]
    assert ledger.config["split"] == {"validation": 0.2, "test": 0.2, "seed": 0}
    flags = ["sets/rows.jsonl", "--columns", "text=a,reply=b", "languages=no,en", "overlap=[sets/known.jsonl]"]
    capsys.readouterr()
    command = ["data", "prepare", *flags, "-t", "summarization", "-m", model, "-o", "out"]
    assert main([*command, "split.validation=0.2", "split.test=0.2"]) == 0
    assert "there is nothing to do" in capsys.readouterr().err  # the same rows and settings, said otherwise


def test_held_out_files_and_files_of_one_name(model: str) -> None:
    for seed, name in enumerate(("fr/rows.jsonl", "de/rows.jsonl", "check.jsonl", "exam.jsonl")):
        Path(name).parent.mkdir(exist_ok=True)
        write_lines(Path(name), plain_rows(20, seed=seed))
    command = ["data", "prepare", "fr/rows.jsonl", "de/rows.jsonl", "--validation", "check.jsonl", "--test"]
    assert (
        main(
            [
                *command,
                "exam.jsonl",
                "--limit",
                "15",
                "--processes",
                "1",
                "-t",
                "summarization",
                "-m",
                model,
                "-o",
                "out",
            ]
        )
        == 0
    )
    ledger = finished(Path("out"))
    assert ledger is not None
    assert {name: part.rows for name, part in ledger.splits.items()} == {"train": 30, "validation": 15, "test": 15}
    assert [source.name for source in ledger.sources] == ["fr/rows.jsonl", "de/rows.jsonl", "check.jsonl", "exam.jsonl"]


def test_columns_and_values_reach_every_row(model: str) -> None:
    Path("rows.csv").write_text("source,reply\nGood morning to you,Bonjour à vous\nGood night,Bonne nuit\n")
    command = ["data", "prepare", "rows.csv", "-t", "translation", "-m", model, "-o", "out", "split.validation=0"]
    assert main([*command, "--columns", "text=source, reply=reply", "--values", "target=fr,source=en"]) == 0
    assert [row["request"] for row in lines_of(Path("out/train.jsonl"))] == [
        {"text": "Good morning to you", "source": "en", "target": "fr"},
        {"text": "Good night", "source": "en", "target": "fr"},
    ]


def test_pairs_may_hold_commas() -> None:
    assert parse_pairs(["text=a,reply=b"], "--columns") == {"text": "a", "reply": "b"}
    assert parse_pairs(["tone=warm, calm,length=40", "form=poem"], "--values") == {
        "tone": "warm, calm", "length": "40", "form": "poem",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["split.test=0.25"], "split.test", 0.25),
        (["duplicates.near=null"], "duplicates.near", None),
        (["repair=false", "languages=[no, zh]"], "languages", ["no", "zh"]),
        (["lengths.max_ratio=3"], "lengths.max_ratio", 3.0),
        (["sources.0.weight=2.5"], "sources.0.weight", 2.5),
        (["sources.0.values.length=short"], "sources.0.values.length", "short"),
        (["max_tokens=512", "too_long=drop"], "max_tokens", 512),
        (["task=dialogue"], "task", "dialogue"),
    ],
)
def test_any_setting_can_be_overridden(words: list[str], field: str, value: Any) -> None:
    found: Any = configuration(["rows.jsonl", *words], Flags("summarization")).model_dump()
    for name in field.split("."):
        found = found[int(name)] if name.isdecimal() else found[name]
    assert found == value


def test_a_file_with_an_equals_sign_is_a_file(tmp_path: Path) -> None:
    Path("rows=1.jsonl").touch()
    config = configuration(["rows=1.jsonl"], Flags("summarization"))
    assert config.sources[0].path == "rows=1.jsonl"


BAD: list[tuple[list[str], str]] = [
    (["gone.jsonl", "-t", "summarization"], "There is no file gone.jsonl"),
    (["rows.jsonl"], "add --task with one of translation"),
    (["rows.jsonl", "-t", "summary"], "Did you mean: summarization"),
    (["split.test=0.1", "-t", "summarization"], "name files of rows"),
    (["rows.jsonl", "-t", "summarization", "split.tets=0.1"], "Did you mean: split.test"),
    (["rows.jsonl", "-t", "summarization", "test=0.1"], "split.test"),
    (["rows.jsonl", "-t", "summarization", "split.test=much"], "split.test is not valid"),
    (["rows.jsonl", "-t", "summarization", "too_long=cut"], "'error', 'split' or 'drop'; found 'cut'"),
    (["rows.jsonl", "-t", "summarization", "sources.5.weight=2"], "There is no setting 'sources.5.weight'"),
    (["rows.jsonl", "-t", "summarization", "sources.0=2"], "There is no setting 'sources.0'"),
    (["rows.jsonl", "-t", "summarization", "split.seed=1", "split.seed=2"], "'split.seed' is set twice"),
    (["rows.jsonl", "-t", "summarization", "-c", "text"], "--columns takes NAME=VALUE"),
    (["rows.jsonl", "-t", "summarization", "-c", "txt=a"], "Did you mean: text"),
    (["rows.jsonl", "-t", "summarization", "-c", "text=zzz,reply=summary"], "found: ['text', 'summary']"),
    (["rows.jsonl", "-t", "summarization", "--processes", "0"], "--processes"),
    (["rows.jsonl", "data.yaml"], "names its own sources"),
    (["data.yaml", "--columns", "text=a"], "--columns speaks of files"),
    (["wrong.yaml"], "There is no setting 'sorces'. Did you mean: sources"),
    (["inner.yaml"], "There is no setting 'sources.0.colums'. Did you mean: sources.0.columns"),
    (["list.yaml"], "keys and values"),
    (["broken.yaml"], "cannot be read as YAML"),
    (["gone.yaml"], "cannot be read as YAML: No such file"),
    (["empty.jsonl", "-t", "summarization"], "holds no records"),
    (["folder", "-t", "summarization"], "is a folder"),
    (["rows.exe", "-t", "summarization"], "format of rows.exe"),
    (["rows.jsonl", "-t", "summarization", "-m", "scripted"], "scripted"),
    (["rows.jsonl", "-t", "summarization", "-m", ""], "--model is empty"),
    (["rows.jsonl", "-t", "summarization", "--out", ""], "--out is empty"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(Path("rows.jsonl"), plain_rows(3))
    Path("folder").mkdir()
    Path("empty.jsonl").touch()
    Path("rows.exe").write_text("x")
    for name, text in {
        "data.yaml": "task: summarization\nsources: [{path: rows.jsonl}]\n",
        "wrong.yaml": "task: summarization\nsorces: []\n",
        "inner.yaml": "task: summarization\nsources: [{path: rows.jsonl, colums: {a: b}}]\n",
        "list.yaml": "- task\n",
        "broken.yaml": "task: [\n",
    }.items():
        Path(name).write_text(text)
    named = [] if "-m" in arguments else ["-m", model]
    out = [] if "--out" in arguments else ["--out", "out"]
    assert main(["data", "prepare", *arguments, *named, *out, "--quiet"]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not list(Path().glob("out/*.jsonl"))


def test_a_folder_with_something_else_is_left_alone(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(Path("rows.jsonl"), plain_rows(3))
    Path("out").mkdir()
    Path("out/train.jsonl").write_text("mine")
    command = ["data", "prepare", "rows.jsonl", "-t", "summarization", "-m", model, "-q"]
    assert main([*command, "-o", "out"]) == 2
    assert "train.jsonl without a ledger" in capsys.readouterr().err
    assert Path("out/train.jsonl").read_text() == "mine"
    assert main([*command, "-o", "rows.jsonl"]) == 1
    assert "rows.jsonl" in capsys.readouterr().err


def test_names_from_strangers_move_no_terminal(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = "rows\x1b[31m\u202e.jsonl"
    write_lines(Path(name), [{"\x1b]0;title\x07": 1}, *plain_rows(3)])
    command = ["data", "prepare", name, "-t", "summarization", "-m", model, "-o", "out\x1b[2J"]
    assert main(command) == 0
    assert main([*command, "--json"]) == 0
    assert main(["data", "prepare", name, "-t", "dialogue", "-m", model, "-o", "other"]) == 2
    captured = capsys.readouterr()
    assert not set(captured.out + captured.err) & set("\x1b\x07\u202e")


def started(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "apps.cli", "data", "prepare", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE, **options)


def test_ctrl_c_exits_130_and_the_same_command_goes_on(model: str) -> None:
    write_lines(Path("rows.jsonl"), plain_rows(30_000))
    arguments = ["rows.jsonl", "-t", "summarization", "-m", model, "-o", "out", "--processes", "1"]
    process = started(*arguments, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    for line in process.stderr:
        if "Checking and counting rows" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(timeout=60) == 130
    process.stderr.close()
    assert "What is done is kept in out: the same command goes on from there." in said
    assert said.count("Stopped.") == 1
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_account_is_one_sentence(model: str) -> None:
    write_lines(Path("rows.jsonl"), plain_rows(3))
    arguments = ["rows.jsonl", "-t", "summarization", "-m", model, "-o", "out"]
    with Path("/dev/full").open("w") as full:
        process = started(*arguments, stdout=full)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "No space left on device" in said.splitlines()[-1]
    assert finished(Path("out")) is not None  # the rows were written before


def test_configuration_errors_are_input_errors() -> None:
    with pytest.raises(InputError) as caught:
        configuration([], Flags("summarization"))
    assert caught.value.code == "data_cli_no_files"
