"""The picture of ``autoscaler profile show --plot``: step and prefill times over the load, curves and data."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from autoscaler.performance.grid import Grid
from autoscaler.performance.profile import Profile

CONTEXTS = (150.0, 1000.0, 4000.0, 16_000.0)
MOST_CURVES = 6
FADED = 0.15
BATCHES = tuple(float(2 ** (i / 4)) for i in range(33))
LENGTHS = tuple(float(32 * 2 ** (i / 4)) for i in range(41))


def check(target: Path) -> None:
    """Check that a picture can be drawn.

    Raises:
        InputError: the file's ending is no picture's, its folder does not exist, or matplotlib is absent.
    """
    if target.suffix not in {".png", ".svg"}:
        msg = f"--plot {target}: curves are drawn as .png or .svg"
        raise InputError(msg)
    if not target.parent.is_dir():
        msg = f"--plot {target}: there is no folder {target.parent}; make it first"
        raise InputError(msg)
    if importlib.util.find_spec("matplotlib") is None:
        msg = 'drawing needs matplotlib: install the extra, pip install "disagg-autoscaler[report]"'
        raise InputError(msg)


def draw(profile: Profile, measured: Grid | None, target: Path) -> None:
    """Draw what the profile's roles do, dashed beyond what was measured; ``target`` was checked."""
    panels = [panel for panel, role in ((_decode, Role.DECODE), (_prefill, Role.PREFILL)) if _does(profile, role)]
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(5.5 * len(panels), 4.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, profile, measured)
        axes.grid(visible=True, which="both", alpha=FADED)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{profile.name}: {profile.llm} on {profile.accelerators_per_replica} x {profile.accelerator} "
        f"({profile.provenance.kind} {profile.date})",
        fontsize=10,
    )
    figure.savefig(target, dpi=150)


def _does(profile: Profile, role: Role) -> bool:
    return role in profile.roles or Role.UNIFIED in profile.roles


def _decode(axes: Any, profile: Profile, measured: Grid | None) -> None:  # noqa: ANN401 - matplotlib is optional
    """Draw the time between tokens over the batch, a curve per context, up to where the KV cache is full."""
    found = sorted({p.context_tokens for p in measured.decode}) if measured is not None else []
    contexts = found[:: -(-len(found) // MOST_CURVES)] if found else CONTEXTS
    valid = profile.valid.batch or (1.0, BATCHES[-1])
    for index, context in enumerate(contexts):
        fits = [batch for batch in BATCHES if batch * context <= profile.model.limits.kv_capacity_tokens]
        _curve(axes, fits, [_itl_ms(profile, batch, context) for batch in fits], valid, f"C{index}", f"{context:,.0f}")
        points = [] if measured is None else [p for p in measured.decode if p.context_tokens == context]
        axes.plot([p.batch for p in points], [1e3 * p.itl_s for p in points], "o", color=f"C{index}", markersize=4)
    axes.legend(title="context, tokens", fontsize=7, title_fontsize=7, frameon=False)
    _labelled(axes, "sequences in the batch", "time between tokens, ms", "decode")
    axes.set_ylim(bottom=0.0)


def _itl_ms(profile: Profile, batch: float, context: float) -> float:
    return 1e3 * float(profile.model.step.step_s(batch, batch * context))


def _prefill(axes: Any, profile: Profile, measured: Grid | None) -> None:  # noqa: ANN401 - matplotlib is optional
    """Draw the time of one prompt over its length."""
    times = [1e3 * float(profile.model.prefill.latency_s(tokens)) for tokens in LENGTHS]
    _curve(axes, LENGTHS, times, profile.valid.prompt_tokens or (1.0, LENGTHS[-1]), "C0", "model")
    points = [] if measured is None else [p for p in measured.prefill if p.prompts == 1]
    if points:
        axes.plot([p.tokens for p in points], [1e3 * p.latency_s for p in points], "o", color="C0", markersize=4,
                  label="measured")  # fmt: skip
    axes.legend(fontsize=7, frameon=False)
    _labelled(axes, "uncached prompt tokens", "prefill, ms", "prefill, one prompt alone")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plain())


def _curve(
    axes: Any,  # noqa: ANN401
    over: "list[float] | tuple[float, ...]",
    times: list[float],
    valid: tuple[float, float],
    colour: str,
    label: str,
) -> None:
    """Draw a curve, faint and dashed where the profile extrapolates."""
    axes.plot(over, times, "--", color=colour, alpha=0.5, linewidth=1)
    inside = [(x, y) for x, y in zip(over, times, strict=True) if valid[0] <= x <= valid[1]]
    axes.plot([x for x, _ in inside], [y for _, y in inside], color=colour, linewidth=1.5, label=label)


def _labelled(axes: Any, across: str, up: str, title: str) -> None:  # noqa: ANN401
    """Set titles, and an axis of powers of two that is labelled in plain numbers."""
    axes.set_xscale("log", base=2)
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.xaxis.set_major_formatter(_plain())


def _plain() -> Any:  # noqa: ANN401
    return importlib.import_module("matplotlib.ticker").FuncFormatter(lambda value, _: f"{value:,.12g}")
