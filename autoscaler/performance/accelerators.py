"""Accelerators: what vendors promise. Dense figures (data sheets that say "with sparsity" show twice as much)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autoscaler.errors import InputError

GIB = 2**30
MIB = 2**20
TERA = 1e12


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device. ``flops``: per second by bits of a weight; absent bits compute at the speed of 16."""

    name: str
    bandwidth_bytes_per_second: float
    flops: Mapping[int, float]
    memory_bytes: float
    link_bytes_per_second: float  # to its peers, one direction
    spread: float  # how much wider than usual a prior for it is
    source: str

    def flops_per_second(self, bits: int) -> float:
        """Return dense operations per second with weights of so many bits; wider units serve where they are absent."""
        return self.flops[min(width for width in self.flops if width >= min(bits, 16))]


FOUR_BIT: Mapping[str, Mapping[int, float]] = MappingProxyType({"B200": {4: 9000 * TERA}})


def _accelerator(  # noqa: PLR0913, PLR0917 -- one row of the table below
    name: str,
    bandwidth: float,
    dense16: float,
    dense8: float | None,
    memory: float,
    link_gb: float,
    spread: float,
    source: str,
) -> Accelerator:
    flops = {16: dense16 * TERA} | ({} if dense8 is None else {8: dense8 * TERA}) | dict(FOUR_BIT.get(name, {}))
    return Accelerator(name, bandwidth * TERA, MappingProxyType(flops), memory, link_gb * 1e9, spread, source)


TABLE = (
    _accelerator("A100-SXM-80GB", 2.04, 312, None, 80 * GIB, 300, 1.3, "NVIDIA A100 data sheet (2021); no fp8 units"),
    _accelerator("H100-SXM", 3.35, 989, 1979, 80 * GIB, 450, 1.2, "NVIDIA H100 data sheet (2023)"),
    _accelerator("H100-PCIE", 2.0, 757, 1513, 80 * GIB, 64, 1.4, "NVIDIA H100 data sheet (2023)"),
    _accelerator("H200-SXM", 4.8, 989, 1979, 143_771 * MIB, 450, 1.0, "NVIDIA H200 data sheet (2024); measured here"),
    _accelerator(
        "B200", 7.7, 2250, 4500, 180 * GIB, 900, 1.5, "NVIDIA DGX B200 data sheet (2024); others say 8.0 TB/s"
    ),
    _accelerator(
        "L40S", 0.864, 362, 733, 46_068 * MIB, 32, 1.3, "NVIDIA L40S data sheet (2023); no prior holds at TP >= 4"
    ),
    _accelerator("L4", 0.300, 121, 242, 24 * GIB, 32, 1.5, "NVIDIA L4 data sheet (2023), halved: sparsity"),
    _accelerator("MI300X", 5.3, 1307, 2615, 192 * GIB, 448, 1.8, "AMD MI300X data sheet (2023); no measurement seen"),
)

_ALIASES = {
    "A100": "A100-SXM-80GB",
    "A100-SXM": "A100-SXM-80GB",
    "H100": "H100-SXM",
    "H200": "H200-SXM",
    "B200-SXM": "B200",
}


def accelerator(name: str) -> Accelerator:
    """Return an accelerator by name, upper or lower case, with or without ``NVIDIA``.

    Raises:
        InputError: it is not in the table.
    """
    plain = name.upper().removeprefix("NVIDIA").removeprefix("AMD").strip(" -_").replace("_", "-").replace(" ", "-")
    wanted = _ALIASES.get(plain, plain)
    for each in TABLE:
        if each.name == wanted:
            return each
    msg = f'accelerator "{name}" is not known; known are {", ".join(each.name for each in TABLE)}; or give a profile'
    raise InputError(msg)
