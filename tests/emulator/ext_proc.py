"""The language in which gateways ask an endpoint picker: Envoy's external processing over gRPC, as far as a pick goes.

A client that asks any picker, and a server that answers for an emulated one. Messages are written by hand from the
published field numbers (envoy.service.ext_proc.v3): a handful of nested fields needs no generated code.

    ProcessingRequest    2 request_headers {1 headers, 3 end_of_stream}   4 request_body {1 body, 2 end_of_stream}
    ProcessingResponse   1 request_headers {1 response}   7 immediate_response {1 status {1 code}}
    CommonResponse       2 header_mutation {1 set_headers {1 header}}
    HeaderMap            1 headers   HeaderValue {1 key, 2 value, 3 raw_value}
"""

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Self

import grpc

from tests.emulator.picker import NoEndpointsError, Picker

SERVICE, METHOD = "envoy.service.ext_proc.v3.ExternalProcessor", "Process"
DESTINATION = "x-gateway-destination-endpoint"
PREFILLER = "x-prefiller-host-port"
PATIENCE_S = 20.0
VARINT, BYTES = 0, 2

Addresses = Callable[[str], str]
"""From a pod's name to its host:port."""


def written(number: int, value: bytes | int) -> bytes:
    """Write one field."""
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    return _varint(number << 3 | BYTES) + _varint(len(value)) + value


def read(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a message; fixed-width ones, which no message here has, are refused.

    Raises:
        ValueError: the bytes are no such message.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, wire = key >> 3, key & 7
        value, at = _read_varint(message, at)
        if wire == VARINT:
            yield number, value
        elif wire == BYTES and at + value <= len(message):
            yield number, message[at : at + value]
            at += value
        else:
            msg = f"field {number} of wire type {wire}"
            raise ValueError(msg)


def inside(message: bytes, *path: int) -> Iterator[bytes]:
    """Yield what stands under a path of field numbers."""
    if not path:
        yield message
        return
    for number, value in read(message):
        if number == path[0] and isinstance(value, bytes):
            yield from inside(value, *path[1:])


class PickerClient:
    """Asks a picker, as a gateway does for each request."""

    def __init__(self, address: str) -> None:
        """Take the picker's gRPC address."""
        self._address = address

    async def __aenter__(self) -> Self:
        """Connect."""
        self._channel = grpc.aio.insecure_channel(self._address)
        self._process = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._channel.close()

    async def pick(self, model: str, prompt: str) -> tuple[str | None, str]:
        """Return host:port of a prefill pod (None: decode computes the prompt itself) and of a decode pod.

        Raises:
            NoEndpointsError: the picker refuses the request at once.
            RpcError: it does not answer.
        """
        body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 16}).encode()
        call = self._process(timeout=PATIENCE_S)
        try:
            await call.write(_request_headers(len(body)))
            await call.write(written(4, written(1, body) + written(2, 1)))
            while (answer := await call.read()) is not grpc.aio.EOF:
                if any(number == 7 for number, _ in read(answer)):
                    raise NoEndpointsError
                headers = dict(_set_headers(answer))
                if DESTINATION in headers:
                    return headers.get(PREFILLER), headers[DESTINATION].split(",")[0]
        finally:
            call.cancel()
        msg = "the picker ended without a destination"
        raise NoEndpointsError(msg)


@asynccontextmanager
async def serving(picker: Picker, addresses: Addresses, chance: random.Random) -> AsyncIterator[str]:
    """Answer for an emulated picker; yields the address."""

    async def process(asked: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in asked:
            if not any(inside(message, 4)):
                continue  # the headers: a picker waits for the body, which names the model
            try:
                prefill, decode = picker.pick(chance)
            except NoEndpointsError:
                yield written(7, written(1, written(1, 503)))
                return
            headers = {DESTINATION: addresses(decode)} | ({PREFILLER: addresses(prefill)} if prefill else {})
            options = b"".join(written(1, written(1, _header(*header))) for header in headers.items())
            yield written(1, written(1, written(2, options)))

    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=0)


def _request_headers(length: int) -> bytes:
    headers = {
        ":method": "POST",
        ":path": "/v1/completions",
        ":authority": "model",
        "content-type": "application/json",
        "content-length": str(length),
    }
    return written(2, written(1, b"".join(written(1, _header(*header)) for header in headers.items())))


def _header(key: str, value: str) -> bytes:
    return written(1, key.encode()) + written(3, value.encode())


def _set_headers(answer: bytes) -> Iterator[tuple[str, str]]:
    """Yield the headers that an answer to the request's headers sets."""
    for header in inside(answer, 1, 1, 2, 1, 1):
        found = {number: value for number, value in read(header) if isinstance(value, bytes)}
        yield found[1].decode().lower(), (found.get(3) or found.get(2) or b"").decode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
        shift += 7
    msg = "cut off in the middle"
    raise ValueError(msg)
