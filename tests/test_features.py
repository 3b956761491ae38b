"""What all that compares features has in common."""

import pytest
import torch

from csd_edu.features import normalize
from tests.snapshots import random


def test_normalize_makes_unit_rows_and_leaves_zero_rows():
    features = random(8, 5).float() * 10.0 ** torch.linspace(-25, 30, 8)[:, None]  # huge and tiny
    features[0] = 0
    assert normalize(features).norm(dim=1).tolist() == pytest.approx([0] + [1] * 7, abs=1e-6)
