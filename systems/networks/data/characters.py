r"""Passages of text in random languages: to predict each next character, as well as anybody can.

A language is a Markov chain of order k over K letters: what comes next depends on the last k letters alone.
For every context s of k letters its probabilities are

    P(c | s) = (1 − ε) D_c + ε/K,    D from a symmetric Dirichlet distribution of parameter a, ε = 0.02,

a few likely letters for small a; the floor ε/K makes every text possible, so that the stationary distribution
π(s) is unique. A passage of T + 1 letters begins in π: its first T are the inputs, its last T what is to be
predicted.

No predictor of the letter after t others does better, on average over passages, than the conditional entropy

    h_t = H_{t+1} − H_t,   1 ≤ t,    H_n = −Σ π_n(x_1 … x_n) ln π_n(x_1 … x_n),

with π_n the distribution of n letters of stationary text. From t = k on it is the entropy rate
h = −Σ_s π(s) Σ_c P(c | s) ln P(c | s), for a chain of order k knows all it needs. So the
smallest loss of a net, mean cross entropy over the positions of new passages, is exactly

    L* = (Σ_{t=1}^{T} h_{min(t, k)})/T,

in nats per letter. A net that knows only how often each letter occurs has H_1, one that guesses ln K.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import Section, key
from langevin.core.capabilities import ChecksSettings
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.machine.memory import room_faults

from .base import Data, Examples, StructureKeys

if TYPE_CHECKING:
    from langevin.config.settings import Settings

#: Probability ε with which the next letter is any of all.
ANY = 0.02
#: The stationary distribution is known to so much, and found in so many steps at most.
STATIONARY, STEPS = 1e-15, 20_000
#: Contexts K^k, at most.
CONTEXTS = 50_000

Table = NDArray[np.float64]


class Characters(DataSet, ChecksSettings):
    """Passages of text in random languages, of known entropy: each next character is to be predicted."""

    class Parameters(Section):
        """What stands under [data]."""

        train: int = key("training passages of each quenched sample", default=500, ge=1)
        test: int = key("test passages of each quenched sample", default=500, ge=1)
        length: int = key("letters T of a passage", default=24, ge=1)
        letters: int = key("letters K of the alphabet", default=8, ge=2)
        order: int = key("letters k that the next one depends on", default=2, ge=1, le=6)
        concentration: float = key(
            "parameter a of the Dirichlet distribution of what follows a context: the smaller, the fewer "
            "letters are likely",
            default=0.3,
            gt=0,
        )

        @classmethod
        def unknown(cls, name: str) -> str:
            """Say why a key of this name is none."""
            text = name in StructureKeys.model_fields
            return "unknown key: what it does to numbers cannot be done to text" if text else "unknown key"

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield that there are too many contexts, or that the passages do not fit in memory."""
        keys = settings.data
        if keys.letters**keys.order > CONTEXTS:
            most = int(CONTEXTS ** (1 / keys.order) + 1e-9)
            yield (
                f"data.letters = {keys.letters}: must be ≤ {most} with data.order = {keys.order}, "
                f"{CONTEXTS} contexts"
            )
            return
        passages = settings.ensemble.samples * (keys.train + keys.test)
        said = f"data.train = {keys.train}, data.test = {keys.test}, data.length = {keys.length}"
        yield from room_faults(
            16.0 * passages * keys.length, f"{said}, ensemble.samples = {settings.ensemble.samples}"
        )

    def language(self, ensemble: Ensemble, sample: int) -> Table:
        """Return P(c | s) of a quenched sample, shape (K^k, K); the last letter of s counts ones."""
        keys = self.parameters
        stream = ensemble.quenched("language", sample)
        # Of small shapes gammas may all vanish: then any letter.
        drawn = stream.standard_gamma(keys.concentration, size=(keys.letters**keys.order, keys.letters))
        drawn += np.finfo(float).tiny
        return np.asarray((1 - ANY) * drawn / drawn.sum(axis=1, keepdims=True) + ANY / keys.letters)

    def best_loss(self, ensemble: Ensemble, sample: int) -> float:
        """Return L* of a quenched sample, in nats per letter."""
        keys, after = self.parameters, entropies(self.language(ensemble, sample))
        return float(np.mean([after[min(t, keys.order)] for t in range(1, keys.length + 1)]))

    def passages(self, ensemble: Ensemble, sample: int, role: str, count: int) -> NDArray[np.int64]:
        """Draw passages of a quenched sample, shape (count, T + 1); fewer are the beginning of more.

        Parameters
        ----------
        ensemble : Ensemble
        sample : int
        role : str
            "data" for training, "test data" for test examples.
        count : int
        """
        keys, table = self.parameters, self.language(ensemble, sample)
        size, places = keys.letters, max(keys.length + 1, keys.order)
        # Of each passage one number for its beginning, and one for every further letter.
        drawn = ensemble.quenched(role, sample).random((count, 1 + places - keys.order))
        context = _pick(np.cumsum(stationary(table)), drawn[:, 0])
        letters = [context // size**place % size for place in reversed(range(keys.order))]
        rows = np.cumsum(table, axis=1)
        for number in drawn[:, 1:].T:
            # The last entry counts as 1, whatever rounding made of it.
            following = (number[:, None] >= rows[context, :-1]).sum(axis=1)
            letters.append(following)
            context = context * size % size**keys.order + following
        return np.stack(letters, axis=1)[:, : keys.length + 1].astype(np.int64)

    def load(self, ensemble: Ensemble) -> Data:
        """Draw the passages of every quenched sample of the ensemble."""
        keys, samples = self.parameters, sorted({int(s) for s in ensemble.sample})
        train, rows = self._joined(ensemble, samples, "data", keys.train)
        test, test_rows = self._joined(ensemble, samples, "test data", keys.test)
        one = np.ones(1, dtype=np.float32)
        attributes = {
            "source": f"drawn: text of Markov chains of order {keys.order}, each sample its own language",
            "train_examples": str(keys.train),
            "test_examples": str(keys.test),
            "best_loss": ", ".join(f"{self.best_loss(ensemble, s):.6f}" for s in samples),
        }
        return Data(
            "characters", train, test, keys.letters, one, 0 * one, rows, test_rows, attributes, keys.letters
        )

    def _joined(
        self, ensemble: Ensemble, samples: list[int], role: str, count: int
    ) -> tuple[Examples, dict[int, NDArray[np.int64]]]:
        """Return the passages of all samples, and the rows of each."""
        drawn = np.concatenate([self.passages(ensemble, s, role, count) for s in samples])
        rows = {s: np.arange(count) + i * count for i, s in enumerate(samples)}
        return Examples(np.ascontiguousarray(drawn[:, :-1]), np.ascontiguousarray(drawn[:, 1:])), rows


def _pick(cumulated: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of several events numbers between 0 and 1 stand for."""
    return np.minimum(np.searchsorted(cumulated, number, side="right"), len(cumulated) - 1).astype(np.int64)


def stationary(table: Table) -> NDArray[np.float64]:
    """Return π(s), shape (K^k,), of the chain with these P(c | s), shape (K^k, K).

    π(s_2 … s_k c) = Σ_{s_1} π(s_1 … s_k) P(c | s_1 … s_k), iterated; what is left falls as
    (1 − ε)^{n/k} at least.
    """
    contexts, size = table.shape
    chances = np.full(contexts, 1 / contexts)
    for _ in range(STEPS):
        before = chances
        chances = (before[:, None] * table).reshape(size, -1).sum(axis=0)
        chances /= chances.sum()
        if np.abs(chances - before).sum() <= STATIONARY * size:
            break
    return np.asarray(chances)


def entropies(table: Table) -> list[float]:
    """Return h_0 = H_1 and h_t of a letter after t = 1 … k others, k + 1 numbers, in nats."""
    contexts, size = table.shape
    order = round(np.log(contexts) / np.log(size))
    longest = stationary(table)[:, None] * table
    blocks = [0.0]
    for n in range(1, order + 2):
        # The first n letters of k + 1: in stationary text any n.
        some = longest.reshape(size**n, -1).sum(axis=1)
        blocks.append(-float(np.sum(some * np.log(some, where=some > 0, out=np.zeros_like(some)))))
    return [after - before for before, after in pairwise(blocks)]
