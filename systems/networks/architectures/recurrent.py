"""Recurrent nets by name: what stands under [system], and the module that it means."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from langevin.config.keys import Section, key
from langevin.errors import UserError
from langevin.machine.later import callables, later

from ..network import Network

if TYPE_CHECKING:
    from torch import nn

    from ..nets import recurrent_modules
    from ..nets.recurrent_modules import recurrent
else:
    recurrent_modules = later("langevin.systems.networks.nets.recurrent_modules")
    (recurrent,) = callables("langevin.systems.networks.nets.recurrent_modules", "recurrent")


class _Recurrent(Network):
    """Embedding, recurrent layers, a linear layer: what comes next, at every position."""

    data: ClassVar[str] = "characters"
    name: ClassVar[str]

    class Parameters(Section):
        """What stands under [system]."""

        hidden: int = key("hidden units of each layer", default=64, ge=1)
        layers: int = key("recurrent layers, one on top of the other", default=1, ge=1)
        embedding: int = key("numbers that stand for a token", default=16, ge=1)

    @property
    @abstractmethod
    def layer(self) -> Any:
        """Class of the recurrent layer."""

    def build(self) -> nn.Module:
        """Return a new network."""
        if not self.tokens or len(self.shape) != 1:
            given = "×".join(str(n) for n in self.shape)
            raise UserError(
                f"system.name = {self.name!r}: needs sequences of tokens (inputs of int64, shape (P, T), and "
                f"the number of tokens); inputs of this data set are {given}"
                + (", numbers" if not self.tokens else "")
            )
        keys = self.parameters
        return recurrent(self.layer, self.tokens, self.classes, keys.embedding, keys.hidden, keys.layers)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014) that predict each next token."""

    name: ClassVar[str] = "gru"

    @property
    def layer(self) -> Any:
        """Class of the recurrent layer."""
        return recurrent_modules.GRULayer


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) that predicts each next token."""

    name: ClassVar[str] = "lstm"

    @property
    def layer(self) -> Any:
        """Class of the recurrent layer."""
        return recurrent_modules.LSTMLayer
