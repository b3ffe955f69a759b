"""What documents point at is there: links, anchors, commands with their options, verbs of make, modules, files."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from autoscaler.cli import app
from tests.docs.markdown import DOCUMENTS, ROOT, anchors, commands, links

pages = pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in DOCUMENTS])


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{link}: no such file"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{link}: no such heading"


@pages
def test_every_command_exists_with_its_options(page: Path) -> None:
    for call in commands(page.read_text(encoding="utf-8"), "autoscaler"):
        assert unknown(call) == "", f"autoscaler {call}"


@pages
def test_every_verb_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for call in commands(page.read_text(encoding="utf-8"), "make"):
        verb = call.split()[0]
        if verb.startswith("bench-") and verb != "bench-NAME":
            assert (ROOT / "benchmarks" / f"{verb.removeprefix('bench-').replace('-', '_')}.py").exists(), call
        elif re.fullmatch(r"[a-z-]+", verb):
            assert verb in verbs, call


@pages
def test_every_module_that_is_run_exists(page: Path) -> None:
    for call in commands(page.read_text(encoding="utf-8"), "python"):
        if found := re.match(r"-m ([\w.]+)", call):
            path = ROOT / found[1].replace(".", "/")
            local = found[1].split(".")[0] in {"autoscaler", "benchmarks", "examples", "tools"}
            assert not local or path.with_suffix(".py").exists() or (path / "__main__.py").exists(), call


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    folders = "autoscaler|benchmarks|docs|examples|manifests|policies|tests|tools"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or path.startswith("docs/design/NNN"), path


def test_commands_are_found_at_all() -> None:
    texts = [page.read_text(encoding="utf-8") for page in DOCUMENTS]
    assert sum(len(list(commands(text, "autoscaler"))) for text in texts) > 40
    assert sum(len(list(commands(text, "make"))) for text in texts) > 20
    assert sum(len(links(text)) for text in texts) > 20


def unknown(call: str) -> str:
    """Return the first word of a call that no command or option answers to; empty: all are known."""
    words = [word for word in shlex.split(call.replace("…", "x").replace("...", "x"), comments=True) if word]
    if not re.fullmatch(r"[a-z-]+", words[0]):
        return ""  # prose: `autoscaler COMMAND`
    if words[0].startswith("-"):
        return "" if words[0] in {"--version", "--help"} else words[0]
    if words[0] not in app.COMMANDS:
        return words[0]
    command: Any = app.command(words[0])
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return rest[0]
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    flags = (word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word))
    return next((flag for flag in flags if flag not in known | {"--help"}), "")


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("run --policy p.yaml --prometheus URL", ""),
        ("policy check FILE -o json", ""),
        ("policy chekc FILE", "chekc"),
        ("explain --log x --verfy", "--verfy"),
        ("fly", "fly"),
        ("backtest --no-bound --trace=t.csv", ""),
    ],
)
def test_a_wrong_command_is_found(call: str, wrong: str) -> None:
    assert unknown(call) == wrong
