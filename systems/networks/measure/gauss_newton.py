r"""The Gauss-Newton matrix of a network's mean training loss: the part of its Hessian that is never negative.

With f(w) the outputs of an example and ℓ(f) its loss, the Hessian of the mean loss is

    H = ⟨Jᵀ (∂²ℓ/∂f∂f) J⟩ + ⟨Σ_k ∂ℓ/∂f_k ∂²f_k/∂w∂w⟩ = G + (H − G),    J = ∂f/∂w

(Schraudolph, Neural Computation 14, 1723 (2002)). G is positive semidefinite if ℓ is convex in f, as
cross-entropy and the squared error are; it is H where f is linear in w, or fits the data exactly. For
cross-entropy it is Fisher's information of the model's own probabilities, since ∂²ℓ/∂f∂f = diag(p) − p pᵀ is
the covariance of ∂ℓ/∂f over labels drawn from p (Martens, JMLR 21, 146 (2020)).

A product with v is taken in three steps, for pieces of the examples: J v, then ∂²ℓ/∂f∂f of that, then Jᵀ.
Torch has no forward derivative of every operation. But Jᵀu, once backwards, is linear in u, and its
derivative by u along v is J v: twice backwards, as for H.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from langevin.core.system import Array

from .curvature import Point, products


class GaussNewton(Point):
    """The Gauss-Newton matrix at given weights; made as `Point`."""

    def _add(self, total: Tensor, rows: Tensor, piece: Tensor) -> None:
        """Add the share of some examples to the products, shape (k, M)."""
        leaf = self.weights.clone().requires_grad_()
        inputs, labels = self.twin.gather(piece)
        outputs: Tensor = self.outputs(leaf, inputs)
        fixed = outputs.detach().requires_grad_()
        loss = self.twin.loss.mean(fixed, labels) * (len(piece) / len(self.index))
        (slope,) = torch.autograd.grad(loss, fixed, create_graph=True, materialize_grads=True)
        if not (slope.requires_grad and outputs.requires_grad):
            # A loss that is linear in the outputs, or outputs that are constant.
            return
        weighed = torch.zeros_like(outputs, requires_grad=True)
        (back,) = torch.autograd.grad(outputs, leaf, weighed, create_graph=True, materialize_grads=True)
        several = self.together(piece)
        for first in range(0, len(rows), several):
            some = slice(first, first + several)
            moved = products(back, weighed, rows[some])
            total[some] += products(outputs, leaf, products(slope, fixed, moved))

    def dense(self) -> Array:
        """Return the matrix, shape (M, M)."""
        return self.matvec(np.eye(self.size))
