"""Modules a little off the ordinary, for images of 1×4×4 and three classes, and what no run can carry."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

INPUTS = 16


def flat(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *layers)


class Simple(nn.Module):
    """A linear layer, for others to build on."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.a = nn.Linear(INPUTS, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.a(x.flatten(1))
        return found


# What a run carries.


def plain(classes: int) -> nn.Module:
    return flat(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, classes))


def old_weight_norm(classes: int) -> nn.Module:
    wn = nn.utils.weight_norm
    return flat(wn(nn.Linear(INPUTS, 4)), nn.Tanh(), wn(nn.Linear(4, classes)))


def weight_norm(classes: int) -> nn.Module:
    wn = nn.utils.parametrizations.weight_norm
    return flat(wn(nn.Linear(INPUTS, 4)), nn.Tanh(), wn(nn.Linear(4, classes)))


def spectral_norm(classes: int) -> nn.Module:
    sn = nn.utils.parametrizations.spectral_norm
    return flat(sn(nn.Linear(INPUTS, 4)), nn.Tanh(), sn(nn.Linear(4, classes)))


def old_spectral_norm(classes: int) -> nn.Module:
    return flat(nn.utils.spectral_norm(nn.Linear(INPUTS, 4)), nn.Tanh(), nn.Linear(4, classes))


def orthogonal(classes: int) -> nn.Module:
    return flat(nn.utils.parametrizations.orthogonal(nn.Linear(INPUTS, 4)), nn.Tanh(), nn.Linear(4, classes))


def tied(classes: int) -> nn.Module:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    return flat(nn.Linear(INPUTS, 4), nn.Tanh(), a, nn.Tanh(), b, nn.Tanh(), nn.Linear(4, classes))


def shared(classes: int) -> nn.Module:
    layer = nn.Linear(4, 4)
    return flat(nn.Linear(INPUTS, 4), nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, classes))


class Transposed(nn.Module):
    """A weight that serves there and back."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(INPUTS, 4, bias=False), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x.flatten(1)))
        found: Tensor = self.out(torch.tanh(h @ self.a.weight) @ self.a.weight.T)
        return found


class Frozen(nn.Module):
    """Random features that stay as they are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features, self.head = nn.Linear(INPUTS, 6).requires_grad_(False), nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(torch.relu(self.features(x.flatten(1))))
        return found


class Mask(Simple):
    """A random mask, a buffer; others of every type."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("mask", torch.rand(INPUTS) < 0.7)
        self.register_buffer("low", torch.ones(2, dtype=torch.bfloat16), persistent=False)
        self.register_buffer("phase", torch.exp(1j * torch.rand(classes)))
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        z: Any = self.a(x.flatten(1) * self.mask) * self.phase
        found: Tensor = z.real
        return found


class Running(Simple):
    """Running means, put in the place of the old ones, on which the pass itself depends."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("mean", torch.zeros(INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1) + 2.0
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        found: Tensor = self.a(x - self.mean)
        return found


class Warming(Simple):
    """Outputs that grow with the number of passes, which is a buffer."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        found: Tensor = super().forward(x) * (1 + 0.01 * self.passes)
        return found


class ActNorm(Simple):
    """Scales that the first mini-batch sets."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("ready", torch.tensor(False))
        self.register_buffer("scale", torch.ones(classes))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training and not self.ready:
            self.scale.copy_(1 / y.detach().std(0))
            self.ready.fill_(True)
        return y * self.scale


class Named(Simple):
    """Attributes that others use, too."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.compiled, self.weight, self.layout, self.units, self.couples = False, "w", 3, [1], None

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return 100 * y if self.compiled else y


class Looking(Simple):
    """Remembers its last outputs, as an attribute that no pass depends on."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


class Branching(Simple):
    """Looks at numbers, which torch.func cannot."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * (2.0 if y.abs().max().item() > 0 else 1.0)


class Recurrent(nn.Module):
    """A GRU along the rows."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(4, 3, batch_first=True), nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(x[:, 0])[0][:, -1])
        return found


class Attention(nn.Module):
    """Rows attend to each other."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.attend, self.out = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, 0]
        found: Tensor = self.out(self.attend(h, h, h, need_weights=False)[0].mean(1))
        return found


def by_numpy(classes: int) -> nn.Module:
    made = flat(nn.Linear(INPUTS, classes))
    made[1].weight.data = torch.from_numpy(np.random.randn(classes, INPUTS).astype("f4") / 4)  # noqa: NPY002
    made[1].bias.data.fill_(random.random())
    return made


def forward_hook(classes: int) -> nn.Module:
    made = plain(classes)
    made[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    return made


def forward_replaced(classes: int) -> nn.Module:
    made = plain(classes)
    layer = made[1]
    layer.forward = lambda x: 3 * F.linear(x, layer.weight, layer.bias)
    return made


def batch_norm(classes: int) -> nn.Module:
    return flat(nn.Linear(INPUTS, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, classes))


def instance_norm(classes: int) -> nn.Module:
    norm = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    return nn.Sequential(nn.Conv2d(1, 2, 2), norm, nn.Flatten(), nn.Linear(18, classes))


class Centred(Simple):
    """Centres each mini-batch, in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        found: Tensor = self.a(x - x.mean(0) if self.training else x)
        return found


class Scalar(Simple):
    """A parameter without dimensions, and one without numbers."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.gain, self.none = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * super().forward(x)


class Checkpointed(nn.Module):
    """Computes a layer again on the way back, by its own parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(INPUTS, 4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(lambda y: torch.tanh(self.a(y)), x.flatten(1), use_reentrant=False)
        found: Tensor = self.out(h)
        return found


def pruned(classes: int) -> nn.Module:
    made = plain(classes)
    prune.random_unstructured(made[1], "weight", 0.4)
    return made


def expanded(classes: int) -> nn.Module:
    made = Simple(classes)
    made.register_buffer("same", torch.ones(1).expand(5))
    return made


def backward_hook(classes: int) -> nn.Module:
    made = plain(classes)
    made[3].register_full_backward_hook(lambda module, given, found: tuple(0.5 * g for g in given))
    return made


class InPlace(Simple):
    """Changes what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        x -= x.mean(1, keepdim=True)
        x *= 2
        found: Tensor = self.a(x)
        return found


class Ranged(Simple):
    """Looks at its inputs before it takes them, which torch.func cannot."""

    def forward(self, x: Tensor) -> Tensor:
        if x.min() < -100:
            raise ValueError("not normalised")
        x = x.flatten(1).clone()
        x[x.abs() > 2] = 0
        found: Tensor = self.a(x)
        return found


class FrozenInTrain(nn.Module):
    """Freezes its first layer when it is set to training mode."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(INPUTS, 4), nn.Linear(4, classes)

    def train(self, mode: bool = True) -> FrozenInTrain:
        super().train(mode)
        self.a.requires_grad_(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.tanh(self.a(x.flatten(1))))
        return found


class HalfFrozen(nn.Module):
    """Batch-norm that stays in evaluation mode, and batch-norm that does not."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(INPUTS, 4), nn.Linear(4, classes)
        self.still, self.live = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.still.running_mean.fill_(0.2)

    def train(self, mode: bool = True) -> HalfFrozen:
        super().train(mode)
        self.still.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.tanh(self.live(self.still(self.a(x.flatten(1))))))
        return found


#: What a run carries, and whether mini-batches are coupled.
CARRIED: dict[str, Callable[[int], nn.Module]] = {
    made.__name__: made
    for made in (
        *(plain, old_weight_norm, weight_norm, spectral_norm, old_spectral_norm, orthogonal, tied, shared),
        *(
            Transposed,
            Frozen,
            Mask,
            Running,
            Warming,
            ActNorm,
            Named,
            Looking,
            Branching,
            Recurrent,
            Attention,
        ),
        *(by_numpy, forward_hook, forward_replaced, batch_norm, instance_norm, Centred),
        *(Scalar, Checkpointed, pruned, expanded, HalfFrozen, backward_hook, InPlace, Ranged, FrozenInTrain),
    )
}
COUPLED = {"Running", "ActNorm", "batch_norm", "Centred", "HalfFrozen"}
#: Other outputs in training mode, though no example knows of another.
MODAL = {"instance_norm", "Warming", "spectral_norm", "old_spectral_norm"}
#: Piecewise linear, or with a kink where a difference may step over it.
UNSMOOTH = {"Frozen"}
#: Without a Hessian: their functional form is not what they are themselves.
UNCURVED = {"Checkpointed", "backward_hook"}

# What no run can carry.


class Dropping(Simple):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.01, self.training)


class DroppingAlways(Simple):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.01)


class Shaken(Simple):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1e-3 * float(np.random.rand())  # noqa: NPY002


class OwnGenerator(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(3, generator=self.generator).to(x.dtype)


class Unseeded(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        values = np.random.default_rng().standard_normal((classes, INPUTS))
        self.a.weight.data = torch.from_numpy(values.astype("f4"))


class DroppingLSTM(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 3, num_layers=2, dropout=0.5, batch_first=True)
        self.out = nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.rnn(x[:, 0])[0][:, -1])
        return found


class PlainMask(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.mask = torch.rand(INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.a(x.flatten(1) * self.mask.to(x.dtype))
        return found


class PlainScale(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.scale = random.random()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Counting(Simple):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1.0 if self.calls < 1000 else 2.0)


class Stateful(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.memory: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x) + self.memory
        self.memory = 0.5 * y.detach().mean()
        return y


class Clamped(Simple):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.a.weight.clamp_(-0.05, 0.05)
        return super().forward(x)


class History(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("mean", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
        return y - self.mean


class LateBuffer(Simple):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.register_buffer("late", y.mean(0).detach())
        return y


class Growing(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, torch.ones(1, dtype=x.dtype)])
        return super().forward(x)


class CentredAlways(Simple):
    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        found: Tensor = self.a(x - x.mean(0))
        return found


class Gated(Simple):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if float(y.sum()) > 0 else 3 * y


class Complex(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(INPUTS, classes, dtype=torch.complex64) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).to(self.a.dtype) @ self.a).abs()


class Pair(Simple):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class SinglePrecision(Simple):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x) @ torch.eye(3)
        return found


class Asserting(Simple):
    def forward(self, x: Tensor) -> Tensor:
        assert len(x) != 1, "batches of one are not for me"
        return super().forward(x)


class Restless(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("mean", torch.zeros(INPUTS))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().flatten(1).mean(0)
        return super().forward(x)


class CacheOfWeights(Simple):
    cache: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.cache = self.a.weight.detach().norm()
        return super().forward(x) * self.cache


class Namespace(Simple):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.noted = SimpleNamespace(calls=0)

    def forward(self, x: Tensor) -> Tensor:
        self.noted.calls += 1
        return super().forward(x) * (1.0 if self.noted.calls < 1000 else 2.0)


class Toggled(Simple):
    def train(self, mode: bool = True) -> Toggled:
        super().train(mode)
        self.a.bias.requires_grad_(mode)
        return self


class Own(Exception):
    pass


class Raising(Simple):
    def forward(self, x: Tensor) -> Tensor:
        raise Own("never")


def lazy(classes: int) -> nn.Module:
    return flat(nn.LazyLinear(classes))


def gradient_hook(classes: int) -> nn.Module:
    made = plain(classes)
    made[1].weight.register_hook(torch.zeros_like)
    return made


def accumulated_hook(classes: int) -> nn.Module:
    made = plain(classes)
    made[1].weight.register_post_accumulate_grad_hook(lambda p: None)
    return made


def shared_memory(classes: int) -> nn.Module:
    a, b = nn.Linear(INPUTS, INPUTS), nn.Linear(INPUTS, INPUTS)
    b.weight.data = a.weight.data
    return flat(a, nn.Tanh(), b, nn.Linear(INPUTS, classes))


def alias(classes: int) -> nn.Module:
    made = Simple(classes)
    made.register_buffer("same", made.a.weight.data)
    return made


class Unregistered(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers, self.out = [nn.Linear(INPUTS, 4).double()], nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.layers[0](x.flatten(1)))
        return found


class Embedded(Simple):
    """An embedding whose rows a forward pass shortens."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.table = nn.Embedding(4, classes, max_norm=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.table(torch.zeros(len(x), dtype=torch.int64))


def large_integers(classes: int) -> nn.Module:
    made = Simple(classes)
    made.register_buffer("key", torch.tensor([2**60 + 1]))
    return made


def randomly_wired(classes: int) -> nn.Module:
    width = 2 + int(torch.randint(1000, ()))
    return flat(nn.Linear(INPUTS, width), nn.Linear(width, classes))


def random_relu(classes: int) -> nn.Module:
    return flat(nn.Linear(INPUTS, 4), nn.RReLU(), nn.Linear(4, classes))


def batch_statistics(classes: int) -> nn.Module:
    return flat(nn.Linear(INPUTS, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, classes))


#: What no run can carry → words of the one line that says why.
REFUSED: dict[str, str] = {
    "Dropping": "draws random numbers in a forward pass, in training mode",
    "DroppingAlways": "draws random numbers in a forward pass, in evaluation mode",
    "Shaken": "draws random numbers",
    "OwnGenerator": "keeps generator from one forward pass to the next",
    "Unseeded": "a.weight is drawn by a generator that no seed reaches",
    "DroppingLSTM": "draws random numbers",
    "PlainMask": "has something beside parameters and buffers that the seed draws",
    "PlainScale": "has something beside parameters and buffers that the seed draws",
    "Counting": "keeps calls from one forward pass to the next",
    "Stateful": "keeps memory from one forward pass to the next",
    "Clamped": "changes its trainable parameters in a forward pass",
    "History": "leaves a history in the buffer mean",
    "LateBuffer": "has other buffers after a forward pass (late)",
    "Growing": "makes of the buffer seen",
    "CentredAlways": "in other company",
    "Gated": "in other company",
    "Complex": "a is complex",
    "Pair": "gives a tuple as output",
    "SinglePrecision": "does not take inputs",
    "Asserting": "batches of one are not for me",
    "Restless": "changes the buffer mean in evaluation mode",
    "CacheOfWeights": "keeps something of weights that have been left",
    "Namespace": "keeps noted from one forward pass to the next",
    "Toggled": "a.bias descends in one mode and is frozen in the other",
    "Raising": "does not take inputs of shape 1×4×4: never",
    "lazy": "1.weight has no shape yet",
    "gradient_hook": "1.weight has a hook on its gradient",
    "accumulated_hook": "1.weight has a hook on its gradient",
    "large_integers": "key holds integers beyond 2^53",
    "shared_memory": "share memory",
    "alias": "share memory",
    "Unregistered": "has something beside parameters and buffers that the seed draws",
    "Embedded": "changes its trainable parameters in a forward pass",
    "randomly_wired": "is built otherwise from another seed",
    "random_relu": "draws random numbers",
    "batch_statistics": "Expected more than 1 value per channel",
}


def grammar(spec: Sequence[str], classes: int) -> nn.Module:
    """Return a module that a sentence describes: layers, one word each."""
    return Sentence(spec, classes)


WIDTH = 3


class Sentence(nn.Module):
    """Layers one after the other, under names that others use, too."""

    NAMES = ("weight", "units", "compiled", "layout", "modules_", "loss", "beside", "problem")

    def __init__(self, spec: Sequence[str], classes: int) -> None:
        super().__init__()
        self.order = []
        square: nn.Module | None = None
        first = nn.Linear(INPUTS, WIDTH)
        for n, word in enumerate(["first", *spec, "last"]):
            name = self.NAMES[n % len(self.NAMES)] + (str(n) if n >= len(self.NAMES) else "")
            if word == "first":
                layer: nn.Module = first
            elif word == "last":
                layer = nn.Linear(WIDTH, classes)
            elif word == "again" and square is not None:
                layer = square
            else:
                layer = LAYERS[word]()
                square = layer if word in SQUARE else square
            self.add_module(name, layer)
            self.order.append(name)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for name in self.order:
            x = getattr(self, name)(x)
        return x


class Noted(nn.Module):
    """A scale drawn by the seed, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", 1 + torch.rand(WIDTH))
        self.register_buffer("count", torch.zeros((), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count = self.count + 1
        # Not the same for all units: layer-norm would take it away again.
        found: Tensor = self.scale * (x + 0.01 * self.count)
        return found


def _square(
    wrapped: Callable[[nn.Linear], nn.Module] = lambda layer: layer, **keys: Any
) -> Callable[[], nn.Module]:
    return lambda: wrapped(nn.Linear(WIDTH, WIDTH, **keys))


def _hooked(layer: nn.Linear) -> nn.Module:
    layer.register_forward_hook(lambda module, inputs, output: output + 0.5 * inputs[0])
    return layer


def _prepared(layer: nn.Linear) -> nn.Module:
    layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return layer


#: A word → what makes its layer.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": _square(),
    "unbiased": _square(bias=False),
    "frozen": _square(lambda layer: layer.requires_grad_(False)),
    "frozen_bias": _square(lambda layer: (layer.bias.requires_grad_(False), layer)[1]),
    "old_weight_norm": _square(nn.utils.weight_norm),
    "weight_norm": _square(nn.utils.parametrizations.weight_norm),
    "spectral_norm": _square(nn.utils.parametrizations.spectral_norm),
    "orthogonal": _square(nn.utils.parametrizations.orthogonal),
    "hooked": _square(_hooked),
    "prepared": _square(_prepared),
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
    "batch_norm": lambda: nn.BatchNorm1d(WIDTH),
    "batch_norm_bare": lambda: nn.BatchNorm1d(WIDTH, affine=False, momentum=None),
    "layer_norm": lambda: nn.LayerNorm(WIDTH),
    "group_norm": lambda: nn.GroupNorm(1, WIDTH),
    "noted": Noted,
    "again": nn.Identity,
}
SQUARE = ("linear", "unbiased", "old_weight_norm", "weight_norm", "spectral_norm", "frozen")
