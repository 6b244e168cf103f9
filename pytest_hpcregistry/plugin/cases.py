"""The cases of a test: one for each node, machine or image; and of the suites' own tests as fine as the grain is."""

from __future__ import annotations

from typing import Any

import pytest

from ..core.names import CONTROLLER
from .asking import Names, get_names
from .session import FACTS_FIXTURES, asks_for, choice, is_deselected, is_image, wanted_image

MOST_CELLS = 1000
"""Images by machines up to which each has a case of its own: some thousand tests, and seconds."""
Cases = dict[str, Any]  # id -> parameter


def choose_grain(config: pytest.Config, names: Names) -> str:
    """cell, image or node."""
    chosen = choice(config, "grain")
    if chosen != "auto":
        return chosen
    cells = (len(names.nodes) + 1) * max(len(chosen_images(config, names)), 1)
    return "cell" if cells <= MOST_CELLS else "image"


def chosen_images(config: pytest.Config, names: Names) -> list[str]:
    """The catalog's images, or the one of --hpc-image, by its full or its file name."""
    wanted = wanted_image(config)
    return [name for name in names.images if not wanted or is_image(name, wanted)]


def make_cases(config: pytest.Config, names: Names) -> dict[str, Cases | None]:
    """The cases of each fixture that has any, in the order of their ids; None where one case is about all of them."""
    images, nodes = chosen_images(config, names), list(names.nodes)
    machines = [CONTROLLER, *nodes] if nodes else []
    grain = choose_grain(config, names)
    each_node, each_machine = ({one: one for one in some} for some in (sorted(nodes), sorted(machines)))
    cells: Cases = {f"{image}-{machine}": (image, machine) for image in images for machine in each_machine}
    in_images = {
        "cell": cells,
        "image": {image: (image, None) for image in images},
        "node": {machine: (None, machine) for machine in each_machine} if images else {},
    }
    return {
        "sif": {image: image for image in images},
        "node": each_node,
        "node_name": each_node,
        "machine": each_machine,
        "find_on_nodes": None if grain == "image" else each_node,
        "find_on_machines": None if grain == "image" else each_machine,
        "find_in_images": in_images[grain],
    }


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Give a test its cases; with none to be had, one that fails and says so."""
    if not asks_for(metafunc.definition, *FACTS_FIXTURES):
        return  # another project's tests may have fixtures of these names
    config = metafunc.config
    names = Names() if is_deselected(metafunc.definition) else get_names(config)
    own = {name for call in metafunc._calls for name in call.params}  # by marks and hooks of its project
    for name, cases in make_cases(config, names).items():
        for fixture in (name, f"hpc_{name}"):
            if fixture not in own and cases is not None and asks_for(metafunc.definition, fixture):
                ids, parameters = list(cases) or ["none"], list(cases.values()) or [None]
                metafunc.parametrize(fixture, parameters, ids=ids, indirect=True)
