"""The tunnel as machine code gives what it gives as Python, and nothing old is ever run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import compiled

FLIGHTS = """
import hashlib, sys
from autoscaler.backtest.contenders import contender
from autoscaler.backtest.run import Flight, one
from autoscaler.backtest.score import score
from autoscaler.simulate import engine
from benchmarks.board.tracks import development, scene

tracks = {track.name: track for track in development()}
cells = (("worst-misses", "ours", 1), ("rag-burst", "wva-v2", 0), ("agents-many-tenants-70b", "hpa", 0))
for name, policy, seed in cells:
    where = scene(tracks[name])
    run, notes = one(where, Flight(policy, 60.0, seed, contender(policy).knob.default))
    results = run.results
    columns = (results.ttft_s, results.itl_s, results.itl_p99_s, results.finish_s, results.fate)
    print(name, policy, score(where.policy, run), run.fleet, notes.notes)
    print(hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest())
print(engine.__file__.rsplit(".", 1)[-1], file=sys.stderr)
"""


def flown(place: Path) -> tuple[str, str]:
    """Fly with the package from a place; return all that came of it, and the kind of file that did it."""
    command = [sys.executable, "-c", FLIGHTS]
    done = subprocess.run(command, env=compiled.importing(place), capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.strip()


@pytest.mark.slow
def test_results_are_the_same_to_the_last_bit() -> None:
    try:
        place = compiled.compiled(compiled.BUILD)
    except compiled.Untranslatable as reason:
        if str(reason).startswith("there is no"):  # compiler, or header
            pytest.skip(str(reason))
        raise
    as_python, as_code = flown(compiled.ROOT), flown(place)
    assert (as_python[1], as_code[1]) == ("py", "so")
    assert as_python[0] == as_code[0]


def test_other_sources_are_another_translation(tmp_path: Path) -> None:
    shutil.copytree(compiled.ROOT / compiled.PACKAGE, tmp_path / compiled.PACKAGE)
    before = compiled.digest(tmp_path)
    with (tmp_path / compiled.PACKAGE / "simulate" / "engine.py").open("a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert compiled.digest(tmp_path) != before


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    with pytest.raises(compiled.Untranslatable, match=r"there is no C compiler .*none; install one, or name it in"):
        compiled.compiled(tmp_path / "compiled")
    assert not list((tmp_path / "compiled").iterdir())


def test_a_command_sees_the_package_and_the_project() -> None:
    command = [sys.executable, "-c", "import autoscaler, benchmarks; print(autoscaler.__file__)"]
    environment = compiled.importing(compiled.ROOT)
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=os.sep).stdout
    assert Path(said.strip()).parent == compiled.ROOT / compiled.PACKAGE
