"""What a staged Space holds, that it is enough, and that nothing private is in it."""

import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from apps.publish.card import check_card
from apps.publish.closure import ROOT, import_closure
from apps.publish.order import Order, named_values
from apps.publish.requirements import gradio_version, requirements
from apps.publish.scan import refuse_private
from apps.publish.staging import spaces, stage
from apps.publish.trial import try_space
from pipelines.errors import InputError

ALL = ["code_generation", "creative_writing", "dialogue", "suite", "summarization", "translation"]


@pytest.fixture(scope="module")
def isolated_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This interpreter and its libraries, for which the checkout is not installed."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "start.py").write_text(
        "import os, runpy, sys\n"
        "sys.meta_path[:] = [each for each in sys.meta_path if 'editable' not in repr(each).lower()]\n"
        f"own = ('', {str(ROOT)!r}, {str(folder)!r})\n"
        "sys.path[:] = [os.getcwd(), *(each for each in sys.path if each not in own)]\n"
        "if sys.argv[1] == '-c': exec(sys.argv[2])\n"
        "else:\n"
        "    import apps, eval, pipelines\n"
        "    assert all(each.__file__.startswith(os.getcwd()) for each in (apps, eval, pipelines))\n"
        "    runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P {folder}/start.py "$@"\n')
    program.chmod(0o755)
    return program


def test_there_are_six_spaces() -> None:
    assert spaces() == ALL


@pytest.mark.parametrize("space", ALL)
def test_a_staged_space_runs_without_the_checkout(space: str, isolated_python: Path, tmp_path: Path) -> None:
    order = Order(space, "ada/demo", "scripted")
    staged = stage(space, tmp_path / "space", model="scripted")
    check_card(staged.folder / "README.md", gradio_version())
    refuse_private(staged.folder, {})
    trial = try_space(staged, order.endpoints, model="scripted", adapter=None, python=isolated_python)
    assert [reply.endpoint for reply in trial.replies] == list(order.endpoints)
    assert all(reply.text for reply in trial.replies)


def test_it_holds_what_is_imported_and_nothing_else(tmp_path: Path) -> None:
    staged = stage("translation", tmp_path / "space", model="org/name@abc", hardware="zero-a10g")
    packages = {name.split("/")[0] for name in staged.files if "/" in name}
    assert packages == {"apps", "eval", "pipelines"}
    assert "eval/sandbox/guest.py" in staged.files  # run by its name, imported by nobody
    assert "pipelines/wording/publish.yaml" in staged.files
    assert not [name for name in staged.files if name.startswith(("apps/cli", "apps/publish", "eval/metrics"))]
    assert all(name.endswith((".py", ".yaml")) for name in staged.files if "/" in name)
    assert "models:\n  - org/name\n" in (staged.folder / "README.md").read_text()
    with pytest.raises(InputError) as caught:
        stage("traslation", tmp_path / "space", model="scripted")
    assert caught.value.code == "publish_space"


def test_the_closure_follows_imports_in_functions_and_leaves_the_standard_library_out(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def f():\n    from pipelines.a import b\n    import json, torch\n")
    package = tmp_path / "pipelines"
    package.mkdir()
    for name, text in {"__init__.py": "", "a.py": "NAME = 'run.py'\n", "run.py": "import yaml\n", "c.py": ""}.items():
        (package / name).write_text(text)
    closure = import_closure(tmp_path / "app.py", tmp_path)
    assert [str(path) for path in closure.files] == ["pipelines/__init__.py", "pipelines/a.py", "pipelines/run.py"]
    assert closure.libraries == {"torch", "yaml"}


def test_requirements_are_pinned_to_what_is_tested() -> None:
    libraries = import_closure(ROOT / "spaces" / "suite" / "app.py").libraries
    lines = requirements(libraries, "zero-a10g").splitlines()
    assert not [line for line in lines if line.startswith(("torch", "gradio", "--"))]
    older = {"pydantic", "torch"}  # whose reasons stand in spaces/constraints.txt
    for line in lines:
        name, pinned = line.split("==")
        assert name in older or pinned == version(name), line
    assert "torch==2.11.0" in requirements(libraries, "cpu-basic").splitlines()
    assert gradio_version() == version("gradio")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("colorFrom: blue", "colorFrom: orange", "publish_card_value"),
        ('sdk_version: "6.31.0"', 'sdk_version: "5.0.0"', "publish_card_value"),
        ('python_version: "3.12"', "python_version: 3.12", "publish_card_quotes"),
        ("short_description: ", f"short_description: {'x' * 60}", "publish_card_long"),
        ("emoji: 🌍", "emoji: globe", "publish_card_emoji"),
        ("app_file: app.py", "app_file: main.py", "publish_card_app"),
        ("license: apache-2.0", "licence: apache-2.0", "publish_card_missing"),
        ("sdk: gradio", "sdk: gradio\ncolour: red", "publish_card_unknown"),
        ("---\ntitle", "title", "publish_card_form"),
    ],
)
def test_a_wrong_card_is_refused_with_its_line(old: str, new: str, code: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "spaces" / "translation", tmp_path / "space")
    path = tmp_path / "space" / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        check_card(path, gradio_version())
    assert caught.value.code == code
    assert "README.md" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["token = 'hf_" + "a" * 34 + "'", "x = '" + str(Path.home() / "models") + "'", "KEY = 'the-secret-value'",
     "https://me:word@example.org/x", "-----BEGIN RSA " + "PRIVATE KEY-----"],
)  # fmt: skip
def test_keys_and_paths_stop_it(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"first\n{line}\n")
    with pytest.raises(InputError) as caught:
        refuse_private(tmp_path, {"KEY": "the-secret-value"})
    assert caught.value.parameters["line"] == 2
    assert "the-secret-value" not in str(caught.value)


def test_links_stop_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(InputError) as caught:
        refuse_private(tmp_path, {})
    assert caught.value.code == "publish_file"


def test_secrets_are_named_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "value")
    assert named_values(["MY_KEY"], "--secret") == {"MY_KEY": "value"}
    for name, code in (("MY_KEY=value", "publish_value"), ("NOT_THERE", "publish_unset")):
        with pytest.raises(InputError) as caught:
            named_values([name], "--secret")
        assert caught.value.code == code
        assert "=value" not in str(caught.value)
    assert not re.search("value", repr(Order("suite", "a/b", "scripted", secrets={"MY_KEY": "value"})))
