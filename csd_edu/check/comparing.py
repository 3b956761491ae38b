"""The exercise on how similar two feature spaces are: linear CKA."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_edu import drift
from csd_edu.check.running import Case, Exercise, Mistake


def linear_cka(x: Tensor, y: Tensor) -> float:
    x = x.double() - x.double().mean(dim=0)  # (N, D), each column centred
    y = y.double() - y.double().mean(dim=0)  # (N, E)
    norm = torch.linalg.matrix_norm  # Frobenius
    return float(norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))


Parts = Callable[[Tensor, Tensor], Tensor]


def _norm(x: Tensor, order: str | int = "fro") -> Tensor:
    return torch.as_tensor(torch.linalg.matrix_norm(x, order))


def _cka(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y))


def _columns(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def _wrong(x: Tensor, y: Tensor, *, centre: Callable[[Tensor], Tensor] = _columns, score: Parts = _cka) -> Tensor:
    """CKA with one thing done differently."""
    return score(centre(x.double()), centre(y.double()))


def _orientation(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x @ y.T) ** 2 / (_norm(x @ x.T) * _norm(y @ y.T))


def _no_root(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y)) ** 2


def _traces(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y) ** 2 / (_norm(x) ** 2 * _norm(y) ** 2)


def _spectral(x: Tensor, y: Tensor) -> Tensor:
    return _norm(x.T @ y, 2) ** 2 / (_norm(x.T @ x, 2) * _norm(y.T @ y, 2))


def _random(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


_X = torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 4.0]])
_Y = torch.tensor([[2.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
_QUARTER_TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
_EIGHT = _random(8, 3, 0)

LINEAR_CKA = Exercise(
    name="linear_cka",
    title="Linear CKA",
    solution=linear_cka,
    truth=drift.linear_cka,
    answer="number",
    cases=(
        Case("three images, two dimensions", (_X, _Y)),
        Case("y is x, turned by a quarter and twice as large", (_X, 2 * _X @ _QUARTER_TURN)),
        Case("eight images, the second space drifted", (_EIGHT, _EIGHT + 0.8 * _random(8, 3, 1))),
        Case("features far from the origin, as after a ReLU", (_EIGHT + 5, _EIGHT + 4 + 0.8 * _random(8, 3, 2))),
        Case("two spaces of different dimensions", (_random(8, 3, 3), _random(8, 5, 4))),
    ),
    mistakes=(
        Mistake(
            "not centred",
            "The features are not centred: their common mean, which says nothing about who is near whom, then makes "
            "any two spaces look alike. Subtract from each column its mean over the images.",
            partial(_wrong, centre=lambda x: x),
        ),
        Mistake(
            "centred along the wrong axis",
            "You subtract each image's own mean (dim=1). Subtract from each feature dimension, a column, its mean over "
            "the images (dim=0).",
            partial(_wrong, centre=lambda x: x - x.mean(dim=1, keepdim=True)),
        ),
        Mistake(
            "centred by one number",
            "You subtract one number, the mean of all entries. Each column has its own mean: x.mean(dim=0).",
            partial(_wrong, centre=lambda x: x - x.mean()),
        ),
        Mistake(
            "standardised",
            "You also divide each column by its standard deviation. CKA is not blind to that: it would make a "
            "dimension that hardly varies as important as any other. Centre only.",
            partial(_wrong, centre=lambda x: _columns(x) / x.std(dim=0)),
        ),
        Mistake(
            "numerator not squared",
            "The numerator ‖XᵀY‖_F is not squared, while the denominator is a product of two such norms.",
            partial(_wrong, score=lambda x, y: _norm(x.T @ y) / (_norm(x.T @ x) * _norm(y.T @ y))),
        ),
        Mistake(
            "square root of CKA",
            "You return the square root of CKA: numerator and denominator are both too small by a power.",
            partial(_wrong, score=lambda x, y: _cka(x, y).sqrt()),
        ),
        Mistake(
            "denominator squared",
            "A square root is missing in the denominator: it is ‖XᵀX‖_F · ‖YᵀY‖_F, the norms and not their squares. "
            "With x = y the result must be 1.",
            partial(_wrong, score=_no_root),
        ),
        Mistake(
            "product in the wrong orientation",
            "You multiply X Yᵀ, (N, N): that compares image i with image j across two spaces whose axes have nothing "
            "to do with each other. XᵀY, (D, E), compares dimensions over the same images; a rotation must not matter.",
            partial(_wrong, score=_orientation),
        ),
        Mistake(
            "trace instead of norm",
            "Your denominator holds ‖X‖²_F, the trace of XᵀX. It should be the norm of the product, ‖XᵀX‖_F. With "
            "x = y the result must be 1.",
            partial(_wrong, score=_traces),
        ),
        Mistake(
            "spectral norm instead of Frobenius",
            "You take the spectral norm, the largest singular value. F stands for Frobenius: the root of the sum of "
            "all squared entries, .norm() or ord='fro'.",
            partial(_wrong, score=_spectral),
        ),
        Mistake(
            "cosine of the flattened features",
            "You compare entry with entry, as cosine similarity of the two flattened matrices. The axes of two "
            "networks have nothing to do with each other: after a rotation this falls, and CKA does not.",
            partial(_wrong, score=lambda x, y: F.cosine_similarity(x.flatten(), y.flatten(), dim=0)),
        ),
        Mistake(
            "dissimilarity",
            "You return 1 − CKA. CKA is a similarity: 1 for the same geometry.",
            partial(_wrong, score=lambda x, y: 1 - _cka(x, y)),
        ),
    ),
    hints=(
        "Centre first: subtract from each column of x and of y its mean over the images.",
        "Three products are needed: XᵀY (D, E), XᵀX (D, D) and YᵀY (E, E). Of each, the Frobenius norm.",
        "CKA = ‖XᵀY‖² / (‖XᵀX‖ · ‖YᵀY‖). Try it with y = x: is it 1? And with y = x turned and scaled?",
    ),
    tested="centring, norms and powers, blindness to rotation and scale, features far from the origin, D unlike E",
)
