"""The kinds of values in a policy: each refuses what it cannot be, in words that tell the way out."""

import re
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StrictFloat, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from autoscaler.domain.units import Seconds
from autoscaler.policy import durations
from autoscaler.policy.problems import shown

REFUSED = "refused"
"""Type of the pydantic errors raised here; their text is already in a policy's words."""

LARGEST_COUNT = 2**31 - 1  # Kubernetes' replicas are int32
LONGEST_TEXT = 1024


def refuse(text: str) -> NoReturn:
    """Raise an error whose message is exactly the given text."""
    raise PydanticCustomError(REFUSED, "{text}", {"text": text})


def _like(pattern: str, refusal: str, longest: int) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if len(text) > longest or not compiled.fullmatch(text):
            refuse(f"{shown(text)} {refusal}")
        return text

    return check


def _filled(text: str) -> str:
    if not text.strip():
        refuse("is empty; fill it in")
    if len(text) > LONGEST_TEXT:
        refuse(f"is longer than {LONGEST_TEXT} characters; shorten it")
    return text


def _duration(value: Any) -> Any:  # noqa: ANN401 - whatever a document holds
    if not isinstance(value, str):
        refuse(f"{shown(value)} is no duration; write a number with its unit, such as 300ms, 2s, 5m or 1h30m")
    try:
        seconds = durations.parse(value)
    except ValueError as reason:
        refuse(f"{shown(value)} {reason}")
    if seconds <= 0:
        refuse(f"{shown(value)} is not above 0; raise it")
    return seconds


def _attainment(value: Any) -> float:  # noqa: ANN401 - whatever a document holds
    if isinstance(value, str) and (per_cent := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?) ?%", value, re.ASCII)):
        refuse(f"{shown(value)} is a percentage; {_as_share(float(per_cent[1]))}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"expected a share between 0 and 1, got {shown(value)}; write 0.99 for 99 %")
    if 1 < value < 100:
        refuse(f"{shown(value)} is not a share between 0 and 1; {_as_share(float(value))}")
    if not 0 < value < 1:
        refuse(f"{shown(value)} is not a share between 0 and 1, both excluded; write 0.99 for 99 %")
    return float(value)


def _as_share(per_cent: float) -> str:
    return f"write {per_cent / 100:.6g}" if 0 < per_cent < 100 else "write a share below 1, such as 0.99"


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = rf"^{_LABEL}$"
_OBJECT_NAME = rf"^{_LABEL}(\.{_LABEL})*$"
_ACCELERATOR = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_API_VERSION = rf"^({_LABEL}(\.{_LABEL})*/)?v[0-9]+((alpha|beta)[0-9]+)?$"
_LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]*$"


def _schema(pattern: str, longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "maxLength": longest})


Text: TypeAlias = Annotated[
    StrictStr, AfterValidator(_filled), WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": LONGEST_TEXT})
]
Name: TypeAlias = Annotated[
    StrictStr,
    AfterValidator(_like(_NAME, "is not a DNS label; use up to 63 of a-z, 0-9 and -, with no - at either end", 63)),
    _schema(_NAME, 63),
]
ObjectName: TypeAlias = Annotated[
    StrictStr,
    AfterValidator(_like(_OBJECT_NAME, "is not a Kubernetes name; use a-z, 0-9, - and .", 253)),
    _schema(_OBJECT_NAME, 253),
]
Accelerator: TypeAlias = Annotated[
    StrictStr,
    AfterValidator(_like(_ACCELERATOR, "is not an accelerator name; write one such as H200-SXM", 63)),
    _schema(_ACCELERATOR, 63),
]
ApiVersion: TypeAlias = Annotated[
    StrictStr,
    AfterValidator(_like(_API_VERSION, "is not an API version; write group/version, such as apps/v1", 253)),
    _schema(_API_VERSION, 253),
]
LabelName: TypeAlias = Annotated[
    StrictStr,
    AfterValidator(_like(_LABEL_NAME, "is not a Prometheus label name; use letters, digits and _", 253)),
    _schema(_LABEL_NAME, 253),
]
Duration: TypeAlias = Annotated[
    Seconds, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": durations.PATTERN})
]
Attainment: TypeAlias = Annotated[
    float,
    BeforeValidator(_attainment),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Count: TypeAlias = Annotated[StrictInt, Field(ge=0, le=LARGEST_COUNT)]
PositiveCount: TypeAlias = Annotated[StrictInt, Field(ge=1, le=LARGEST_COUNT)]
Priority: TypeAlias = Annotated[StrictInt, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT)]
PositiveNumber: TypeAlias = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
Tolerance: TypeAlias = Annotated[StrictFloat, Field(ge=0, lt=1, allow_inf_nan=False)]
LargestShare: TypeAlias = Annotated[StrictInt, Field(ge=50, le=100)]
WindowSeconds: TypeAlias = Annotated[StrictInt, Field(ge=0, le=3600)]
