"""From YAML text to plain values that remember their lines; what a policy needs of YAML, and nothing that can hurt.

Other files that people write (scenarios, profiles, fleets) come through the same door, ``one_document``.

Plain scalars are text, whole numbers, numbers, true, false and null (no dates, no ``yes``, no octal). Refused:
duplicate keys, aliases (they can grow without bound), tags, deep nesting, files over 1 MiB or 20,000 values.
A key without a value counts as absent, as in Kubernetes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeAlias

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from autoscaler.errors import InputError
from autoscaler.policy.problems import Path, Problem, shown

LARGEST_BYTES = 1 << 20
DEEPEST_NESTING = 40
MOST_VALUES = 20_000
_PREFIX = "tag:yaml.org,2002:"

Plain: TypeAlias = Any
"""dict, list, str, int, float, bool or None, nested."""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document and the line on which each of its parts begins."""

    value: Plain
    lines: Mapping[Path, int]


@dataclass(frozen=True, slots=True)
class Text:
    """What a file holds: its documents, and what kept it from being read."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_file(path: FilePath) -> Text:
    """Read all documents of a file; nothing is raised, what is wrong is in ``problems``."""
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as reason:
        why = (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
        return _refused(name, None, f"cannot be read ({why}); name a readable policy file")
    return read_text(content, name)


def one_document(content: bytes, file: str, most_values: int = MOST_VALUES) -> Plain:
    """Return what a file that is no policy holds: one document within the same limits; None: it is empty.

    Args:
        content: at most 1 MiB, or 50 bytes for each of ``most_values``.
        file: names it in messages.
        most_values: keys and values that are still borne.

    Raises:
        InputError: everything that is wrong with it as YAML.
    """
    text = read_text(content, file, most_values)
    if len(text.documents) > 1:
        msg = f"{file}: holds {len(text.documents)} documents; write one"
        raise InputError(msg)
    if text.problems and content.strip():
        raise InputError("\n".join(map(str, text.problems)))
    return text.documents[0].value if text.documents else None


def read_text(content: bytes, file: str, most_values: int = MOST_VALUES) -> Text:
    """Read all documents of a file's content; nothing is raised, what is wrong is in ``problems``."""
    if len(content) > max(LARGEST_BYTES, 50 * most_values):
        return _refused(file, None, "is larger than 1 MiB, which no policy needs; split it into several files")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = content.count(b"\n", 0, reason.start) + 1
        return _refused(file, line, "is not UTF-8 text; save it as UTF-8")
    try:
        nodes = list(_nodes(text, most_values))
    except yaml.MarkedYAMLError as reason:
        return _refused(file, _line_of(reason), f"YAML: {_explained(reason)}")
    except yaml.YAMLError as reason:
        return _refused(file, None, f"YAML: {' '.join(str(reason).split())}; remove the character")
    documents, problems = [], []
    for node in nodes:
        builder = _Builder(file)
        value = builder.build(node, ())
        problems += builder.problems
        if value is not None:
            documents.append(Document(value, builder.lines))
    if not documents and not problems:
        return _refused(file, None, "holds no policy; see `autoscaler policy schema`")
    return Text(tuple(documents), tuple(problems))


def _refused(file: str, line: int | None, message: str) -> Text:
    return Text(problems=(Problem((), message, file=file, line=line),))


def _line_of(reason: yaml.MarkedYAMLError) -> int | None:
    mark = reason.problem_mark or reason.context_mark
    return None if mark is None else mark.line + 1


def _explained(reason: yaml.MarkedYAMLError) -> str:
    text = ", ".join(part for part in (reason.context, reason.problem) if part)
    return text if ";" in text else f"{text}; check indentation, quotes and brackets"


_HALF = re.compile("[\ud800-\udfff]")
"""What escapes can spell, and nothing can print."""


class _Resolver(BaseResolver):
    """Tells plain scalars apart, less eagerly than YAML 1.1: ``010`` and ``yes`` are text."""


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]{0,17})$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?$", list("-+.0123456789")),
):
    _Resolver.add_implicit_resolver(_PREFIX + _tag, re.compile(_pattern), _first)

_BUILD: dict[str, Callable[[str], Plain]] = {
    "null": lambda _: None,
    "bool": lambda text: text == "true",
    "int": int,
    "float": float,
    "str": str,
}

_TAGS = {yaml.MappingNode: {"map"}, yaml.SequenceNode: {"seq"}, yaml.ScalarNode: set(_BUILD)}


class _Loader(Reader, Scanner, Parser, Composer, _Resolver):
    """Parses text into nodes, refusing aliases and deep nesting before they cost anything."""

    def __init__(self, text: str, most_values: int) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)
        self._depth = 0
        self._values = 0
        self._most_values = most_values

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, as the base class does, unless it is an alias or too deep."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call] # not in the stubs
        if isinstance(event, yaml.AliasEvent):
            msg = f"alias *{event.anchor} is not supported; write the value out"
            raise yaml.MarkedYAMLError(problem=msg, problem_mark=event.start_mark)  # type: ignore[arg-type] # C marks too
        if self._depth >= DEEPEST_NESTING:
            msg = f"nested more than {DEEPEST_NESTING} levels deep; no policy is that deep"
            raise yaml.MarkedYAMLError(problem=msg, problem_mark=event.start_mark)  # type: ignore[arg-type] # as above
        if self._values >= self._most_values:
            msg = f"more than {self._most_values} keys and values; split the file into several"
            raise yaml.MarkedYAMLError(problem=msg, problem_mark=event.start_mark)  # type: ignore[arg-type] # as above
        self._values += 1
        self._depth += 1
        try:
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and _HALF.search(node.value):
            msg = "an escape spells half a character (a lone surrogate); write the character itself"
            raise yaml.MarkedYAMLError(problem=msg, problem_mark=event.start_mark)  # type: ignore[arg-type] # as above
        return node


def _nodes(text: str, most_values: int) -> Iterator[yaml.Node]:
    loader = _Loader(text, most_values)
    while True:
        try:
            if not loader.check_node():
                return
            node = loader.get_node()
        except (OverflowError, ValueError):  # PyYAML takes any eight digits for a character
            msg = "an escape like \\U00110000 names no character; write the character itself"
            raise yaml.MarkedYAMLError(problem=msg, problem_mark=loader.get_mark()) from None
        if node is not None:
            yield node


@dataclass(slots=True)
class _Builder:
    """Turns nodes into plain values, noting lines and what is wrong."""

    file: str
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def build(self, node: yaml.Node, path: Path) -> Plain:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag.removeprefix(_PREFIX) not in _TAGS[type(node)]:
            tag = node.tag.replace(_PREFIX, "!!")
            self._refuse(path, node.start_mark.line + 1, f"tag {tag} is not supported; remove it")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Plain:
        values: dict[str, Plain] = {}
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(path, line, "a key is a list or a mapping; write text")
                continue
            place = (*path, key.value)
            if key.value in seen:
                self._refuse(place, line, f"stands here twice, first on line {self.lines[place]}; keep one")
                continue
            seen.add(key.value)
            self.lines[place] = line
            built = self.build(value, place)
            if built is not None:
                values[key.value] = built
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Plain:
        text: str = node.value
        try:
            return _BUILD.get(node.tag.removeprefix(_PREFIX), str)(text)
        except ValueError:  # only a written tag can contradict its text: !!int x
            self._refuse(path, node.start_mark.line + 1, f"{shown(text)} is not what its tag says; remove the tag")
            return text

    def _refuse(self, path: Path, line: int, message: str) -> None:
        self.problems.append(Problem(path, message, file=self.file, line=line))
