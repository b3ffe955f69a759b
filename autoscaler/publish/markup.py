"""HTML that cannot be broken out of: text is escaped by being text, only what ``tag`` made is markup."""

import html
from typing import TypeAlias


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Markup | None"
VOID = frozenset({"meta", "link", "path", "line", "rect"})


def tag(name: str, /, *children: Child, **attributes: Child) -> Markup:
    """Return an element. Attribute names: ``class_`` and ``for_`` drop their underscore, others turn it into ``-``.

    An attribute that is None is left out.
    """
    named = "".join(
        f' {_attribute(key)}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{named}/>")
    return Markup(f"<{name}{named}>{text(*children)}</{name}>")


def text(*children: Child) -> Markup:
    """Return children one after the other; what is no markup is escaped."""
    shown = (child if isinstance(child, Markup) else html.escape(str(child)) for child in children if child is not None)
    return Markup("".join(shown))


def _attribute(key: str) -> str:
    return key[:-1] if key.endswith("_") else key.replace("_", "-")
