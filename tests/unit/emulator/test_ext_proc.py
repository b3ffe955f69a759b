"""The picker's own protocol: what is written reads back, and a client asks an emulated picker over the wire."""

import asyncio
import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.emulator.ext_proc import PickerClient, inside, read, serving, written
from tests.emulator.picker import NEW_KEY, NoEndpointsError, Picker, Pool

FIELDS = st.lists(st.tuples(st.integers(1, 2**20), st.one_of(st.integers(0, 2**63), st.binary(max_size=300))))


@given(FIELDS)
def test_fields_read_back_as_they_were_written(fields: list[tuple[int, bytes | int]]) -> None:
    assert list(read(b"".join(written(*field) for field in fields))) == fields


def test_numbers_are_written_as_protocol_buffers_do() -> None:
    assert written(1, 150) == b"\x08\x96\x01"  # the example of the encoding's own documentation
    assert written(2, b"testing") == b"\x12\x07testing"


@pytest.mark.parametrize("broken", [b"\x08", b"\x0a\x05ab", b"\x0d\x00\x00\x00\x00"])
def test_what_is_no_message_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        list(read(broken))


def test_paths_lead_into_nested_messages() -> None:
    message = written(1, written(2, b"a") + written(2, b"b")) + written(3, 7)
    assert list(inside(message, 1, 2)) == [b"a", b"b"]


def member(name: str, role: str, **annotations: str) -> dict[str, Any]:
    labels = {"app": "m", "llm-d.ai/role": role}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_a_gateway_gets_the_pods_that_the_picker_picks_and_none_that_is_withdrawn() -> None:
    picker = Picker(Pool({"app": "m"}))

    async def play() -> list[tuple[str | None, str]]:
        chance = random.Random(0)  # noqa: S311 - a test that can be repeated
        async with serving(picker, lambda pod: f"{pod}:8000", chance) as address, PickerClient(address) as gateway:
            with pytest.raises(NoEndpointsError):
                await gateway.pick("m", "hello")
            picked = []
            for pods in (
                [member("a", "decode")],
                [member("b", "prefill")],
                [member("a", "decode", **{NEW_KEY: ""}), member("c", "decode")],
            ):
                for pod in pods:
                    picker.see(pod)
                picked.append(await gateway.pick("m", "hello"))
            return picked

    assert asyncio.run(play()) == [(None, "a:8000"), ("b:8000", "a:8000"), ("b:8000", "c:8000")]
