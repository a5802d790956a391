"""The feasible set of an indiscriminate attack: points that pass outlier filters, and the ones that
hurt a linear classifier most (Steinhardt, Koh and Liang 2017, section 3 and appendix).

The filters are those of a defender who knows which records are clean only from their distances: a
record passes if it lies within a sphere around the mean of its class, and within a slab across the
line between both means. The means are those of the *poisoned* set, so that poison which moves a
mean moves the filter with it. That makes the set of feasible points not convex; but their Gram
matrix, together with the class means and the classifier, obeys linear and second-order constraints,
so the best points follow from a small semidefinite program.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.data import DataNotFound
from lib.data.cache import one_line

Array = NDArray[np.float64]

CLASSES = np.array([0, 0, 1, 1])  # of the four points: two for each class
SIGNS = np.array([1.0, -1.0])  # of the classes, as the hinge loss takes them
SPAN = 3  # both class means and the classifier
POINTS = len(CLASSES)
SIZE = POINTS + SPAN  # of the Gram matrix
COLUMNS, ROWS = np.tril_indices(SIZE)  # the upper triangle, column by column
SCALES = np.where(ROWS == COLUMNS, 1.0, math.sqrt(2.0))  # inner products of triangles are traces
# By the solver's own measure; what it returns is checked by its gap and by the filters.
CONVERGED = ("Solved", "AlmostSolved")
INFEASIBLE = ("PrimalInfeasible", "AlmostPrimalInfeasible")
LARGEST_GAP = 1e-5
TOLERANCE = 1e-6  # of a filter, relative to its radius
LARGEST_EXCESS = 1e-4


@dataclass(frozen=True, eq=False)
class Filters:
    """What clean data say about the filters.

    means: of both classes [2, d]. shares: of both classes among the records [2]. spheres, slabs:
    the filters' radii for both classes [2].
    """

    means: Array
    shares: Array
    spheres: Array
    slabs: Array

    def poisoned(self, points: Array, weights: Array) -> Array:
        """The class means of the poisoned set [2, d].

        points: [4, d]. weights: copies of each point per clean record [4].
        """
        total = [weights[own] @ points[own] for own in (CLASSES == 0, CLASSES == 1)]
        mass = self.shares + [weights[CLASSES == 0].sum(), weights[CLASSES == 1].sum()]
        return (self.shares[:, None] * self.means + total) / mass[:, None]

    def excess(self, points: Array, weights: Array) -> float:
        """How far the points lie outside of the filters, relative to the radii; 0 or less inside.

        Points without weight do not count.
        """
        means = self.poisoned(points, weights)
        away, across = points - means[CLASSES], means[0] - means[1]
        sphere = np.linalg.norm(away, axis=1) / self.spheres[CLASSES]
        slab = np.abs(away @ across) / np.linalg.norm(across) / self.slabs[CLASSES]
        return float(np.maximum(sphere, slab)[weights > 0].max() - 1)


def filters(inputs: Array, labels: NDArray[np.int64], quantile: float) -> Filters:
    """The filters that keep this share of the clean records of each class; inputs: [n, d].

    Raises ValueError for one of them without width, through which nothing but the mean passes.
    """
    means = np.stack([inputs[labels == name].mean(0) for name in (0, 1)])
    across = (means[0] - means[1]) / np.linalg.norm(means[0] - means[1])
    away = inputs - means[labels]
    found = Filters(means, np.bincount(labels, minlength=2) / len(labels),
                    _radii(np.linalg.norm(away, axis=1), labels, quantile),
                    _radii(np.abs(away @ across), labels, quantile))
    for name, radii in (("sphere", found.spheres), ("slab", found.slabs)):
        if not (radii > 0).all():
            raise ValueError(f"attack slab: quantile {quantile} gives the {name} a radius of "
                             f"{radii.min()}: expected above 0; raise the quantile")
    return found


def _radii(distances: Array, labels: NDArray[np.int64], quantile: float) -> Array:
    return np.array([np.quantile(distances[labels == name], quantile) for name in (0, 1)])


@dataclass(frozen=True, eq=False)
class Worst:
    """The points that hurt most [4, d], their weighted hinge loss (points 0 and 2), and the
    relative duality gap with which this is known."""

    points: Array
    loss: float
    gap: float


def worst(given: Filters, theta: Array, bias: float, weights: Array,
          directions: Array) -> Worst:
    """The feasible points with the largest hinge loss under a linear classifier.

    Points 0 and 2, one for each class, carry the loss; 1 and 3 may move the means to make room for
    them. Where no point of a class can have a loss, the other class carries it alone. weights:
    copies of each per clean record [4]. directions: orthonormal, orthogonal to the means and to
    theta [4, d]; points leave the span along them only where they must. Raises ValueError if no
    point at all has a hinge loss, if the solver does not converge, or if the points do not pass the
    filters.
    """
    basis = np.linalg.qr(np.stack([*given.means, theta], axis=1))[0]  # [d, 3]
    unit = float(given.spheres.max())  # lengths of about 1 suit the solver
    gram, gap = _solved(lambda losing: _problem(given, basis, theta * unit, bias, weights, unit,
                                                losing))
    inside = unit * gram[:POINTS, POINTS:] @ basis.T
    margins = SIGNS[CLASSES] * (inside @ theta + bias)
    loss = float(weights[[0, 2]] @ np.maximum(1 - margins[[0, 2]], 0))
    if given.excess(inside, weights) <= TOLERANCE:
        return Worst(inside, loss, gap)
    points = inside + unit * _outside(gram) @ directions
    excess = given.excess(points, weights)
    if not excess <= LARGEST_EXCESS:
        raise ValueError(f"attack slab: a point lies outside of its filters by {excess:.1e} of the "
                         f"radius: expected at most {LARGEST_EXCESS}")
    return Worst(points, loss, gap)


def directions(given: Filters, random: np.random.RandomState, thetas: Array) -> Array:
    """Random orthonormal directions that are orthogonal to the means and to theta [4, d]."""
    drawn = random.normal(size=(given.means.shape[1], POINTS))
    known = np.stack([*given.means, thetas], axis=1)
    return np.linalg.qr(np.hstack([known, drawn]))[0][:, SPAN:].T


def _solved(problem: Callable[[tuple[int, ...]], "Problem"]) -> tuple[Array, float]:
    """The Gram matrix and gap of the problem in which both classes carry a loss; if there is none,
    of the better one with a single class.

    Without solution are filters that let no point of a class have a loss. The solver may stall
    there, so that a class is asked alone for the largest loss that it can have, positive or not.
    """
    first, status = problem((0, 2)).solve()
    if first is not None:
        return first.gram, first.gap
    alone = {number: problem((number,)).solve()[0] for number in (0, 2)}
    losing = [found for found in alone.values() if found is not None and found.value > 0]
    if not losing:
        losses = " and a ".join(f"hinge loss of class {CLASSES[number]}" for number in alone)
        raise ValueError(f"attack slab: no point within the sphere and the slab has a {losses}: the"
                         " filters are too narrow; raise the quantile")
    if None in alone.values() or (len(losing) > 1 and status not in INFEASIBLE):
        raise ValueError(f"attack slab: the solver stopped with {status!r}: expected 'Solved'")
    best = max(losing, key=lambda found: found.value)
    return best.gram, best.gap


def _outside(gram: Array) -> Array:
    """What the points need orthogonally to the span: a root of the Schur complement [4, 4]."""
    inside = gram[:POINTS, POINTS:]
    values, vectors = np.linalg.eigh(gram[:POINTS, :POINTS] - inside @ inside.T)
    return vectors * np.sqrt(np.maximum(values, 0))


# ---------------------------------------------------------------- the semidefinite program

class Solved(NamedTuple):
    """The Gram matrix [7, 7], the relative duality gap, and the weighted loss."""

    gram: Array
    gap: float
    value: float


@dataclass(frozen=True, eq=False)
class Problem:
    """Maximise `objective` over Gram matrices, given as scaled triangles [28].

    constant: of the objective. at_most: (form, bound) for form @ triangle <= bound. cones: (square,
    root, limit) for (root @ triangle)^2 <= limit x (square @ triangle).
    """

    objective: Array
    constant: float
    at_most: list[tuple[Array, float]]
    cones: list[tuple[Array, Array, float]]

    def solve(self) -> "tuple[Solved | None, str]":
        """The solution, None without one, and the solver's status. ValueError if the duality gap is
        too large."""
        solution = self._solution()
        status, value = str(solution.status), solution.obj_val
        if status not in CONVERGED:
            return None, status
        gap = abs(value - solution.obj_val_dual) / max(1.0, abs(value))
        if not gap <= LARGEST_GAP:
            raise ValueError(f"attack slab: the solver stopped with a relative duality gap of "
                             f"{gap:.1e}: expected at most {LARGEST_GAP}")
        return Solved(_matrix(np.array(solution.x)), gap, self.constant - value), status

    def _solution(self) -> Any:
        clarabel = _clarabel()
        from scipy import sparse
        span = [(_form(POINTS + i, POINTS + j), float(i == j))
                for i in range(SPAN) for j in range(i + 1)]
        blocks, limits = [*span, *self.at_most], np.zeros(SIZE * (SIZE + 1) // 2)
        for square, root, limit in self.cones:
            # (limit + square) / 2 >= |((limit - square) / 2, root)|
            blocks += [(-square / 2, limit / 2), (square / 2, limit / 2), (-root, 0.0)]
        rows = np.vstack([*(form for form, _ in blocks), -np.eye(len(limits))])
        bounds = np.concatenate([[bound for _, bound in blocks], limits])
        cones = [clarabel.ZeroConeT(len(span)), clarabel.NonnegativeConeT(len(self.at_most)),
                 *(clarabel.SecondOrderConeT(3) for _ in self.cones),
                 clarabel.PSDTriangleConeT(SIZE)]
        settings = clarabel.DefaultSettings()
        settings.verbose, settings.max_threads = False, 1
        return clarabel.DefaultSolver(sparse.csc_matrix((len(limits),) * 2), -self.objective,
                                      sparse.csc_matrix(rows), bounds, cones, settings).solve()


def _problem(given: Filters, basis: Array, theta: Array, bias: float, weights: Array,
             unit: float, losing: tuple[int, ...]) -> Problem:
    """The problem in units of `unit`, in which the points `losing` carry a loss. A single one may
    have a negative loss.

    Vectors are weights of the four points and of the basis.
    """
    points = np.eye(SIZE)[:POINTS]
    known = np.hstack([np.zeros((2, POINTS)), given.means @ basis / unit])
    moved = given.shares[:, None] * known
    for point, weight, own in zip(points, weights, CLASSES, strict=True):
        moved[own] += weight * point
    mass = given.shares + np.bincount(CLASSES, weights)
    means = moved / mass[:, None]  # [2, 7]
    across, classifier = means[0] - means[1], np.append(np.zeros(POINTS), basis.T @ theta)
    at_most, cones, objective, constant = [], [], np.zeros(len(ROWS)), 0.0
    for number, own in enumerate(CLASSES):
        away = points[number] - means[own]
        at_most.append((_product(away, away), (given.spheres[own] / unit)**2))
        cones.append((_product(across, across), _product(away, across),
                      (given.slabs[own] / unit)**2))
    for number in losing:
        sign = SIGNS[CLASSES[number]]
        score = sign * _product(points[number], classifier)
        if len(losing) > 1:
            at_most.append((score, 1 - sign * bias))  # so that the hinge loss is linear
        objective -= weights[number] * score
        constant += weights[number] * (1 - sign * bias)
    return Problem(objective, constant, at_most, cones)


def _product(one: Array, other: Array) -> Array:
    """The form whose product with a scaled triangle is the inner product of two vectors."""
    outer = np.outer(one, other)
    return ((outer + outer.T) / 2)[ROWS, COLUMNS] * SCALES


def _form(row: int, column: int) -> Array:
    """The form that reads one entry of the Gram matrix."""
    return _product(np.eye(SIZE)[row], np.eye(SIZE)[column])


def _matrix(triangle: Array) -> Array:
    """The symmetric matrix of a scaled triangle."""
    found = np.zeros((SIZE, SIZE))
    found[ROWS, COLUMNS] = found[COLUMNS, ROWS] = triangle / SCALES
    return found


def _clarabel() -> Any:
    """Import Clarabel; raises DataNotFound, in one line, if it is not installed."""
    try:
        import clarabel
    except ImportError as error:
        raise DataNotFound("attack slab needs the package clarabel; run `pip install clarabel` "
                           f"({one_line(error)})") from error
    return clarabel
