"""The training program's own arithmetic, without PyTorch; tests/lab/test_training.py runs it."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from unittest.mock import MagicMock

import pytest

from tests import ROOT


@pytest.fixture(scope="module")
def train() -> ModuleType:
    names = ("torch", "torch.distributed", "torch.nn", "torch.nn.parallel")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, MagicMock())
        spec = importlib.util.spec_from_file_location("train", ROOT / "examples" / "training" / "train.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("c001", "c001"),
        ("c001,c002", "c001"),
        ("c[001-002]", "c001"),
        ("gpu1,c[001-002]", "gpu1"),
        ("c[007,009-011],gpu1", "c007"),
        ("a-b[7-8]-ib", "a-b7-ib"),
        ("r[1-2]n[03-04]", "r1n03"),
    ],
)
def test_the_first_node_of_slurms_list(train: ModuleType, nodes: str, first: str) -> None:
    """Slurm keeps the order that its first task goes by; ClusterShell would sort."""
    assert train.first_node(nodes) == first
