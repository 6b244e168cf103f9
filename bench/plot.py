"""The table as a picture: how the time grows with the number of nodes, and what the controller has to send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from . import ways
from .report import Row

OWN_COLOURS = ("tab:blue", "tab:green", "tab:orange")
MARKERS = "osD^v<>PX"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG with both ratios over the number of nodes; rows in which a node was left out are no points."""
    figure, (times, sent) = plt.subplots(1, 2, figsize=(14, 6))
    panel(times, rows, "ratio", "time until all nodes are verified ÷ (size ÷ bandwidth)")
    panel(sent, rows, "controller_ratio", "bytes that the controller sent ÷ size")
    times.axhline(1, color="black", linewidth=0.8)
    times.annotate("no way can be faster", (0.99, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="this project's engines are drawn solid")
    figure.set_layout_engine("constrained")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def panel(axes: Axes, rows: Sequence[Row], field: str, title: str) -> None:
    own = [way.name for way in ways.OWN]
    for number, way in enumerate([*ways.OWN, *ways.FOREIGN]):
        whole = sorted((row for row in rows if row.engine == way.name and row.ratio), key=lambda row: row.nodes)
        if not whole:
            continue
        style: dict[str, Any] = {"linestyle": ":", "color": f"C{number}", "alpha": 0.8}
        if way.name in own:
            style = {"color": OWN_COLOURS[number], "linewidth": 2.5}
        aside = 1 + 0.015 * (number - 4)  # ways that take the same time do not hide one another
        points = [row.nodes * aside for row in whole], [getattr(row, field) for row in whole]
        axes.plot(*points, marker=MARKERS[number], label=way.name, **style)
    nodes = sorted({row.nodes for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="nodes", title=title)
    axes.set_xticks(nodes, map(str, nodes))
    ticks = [1, 2, 4, 8, 16, 32]
    axes.set_yticks(ticks, map(str, ticks))
    axes.set_ylim(bottom=0.9)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
