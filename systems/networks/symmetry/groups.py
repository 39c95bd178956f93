r"""Which units of a module may change places without a change of its function.

The channels that a layer puts out can be permuted if everything that reads them is permuted alike:
batch-norm, the inputs of the next layers, and all that is added to them. So channels fall into groups that
are permuted together; what they are follows from the module's graph (`torch.fx`), along which each tensor of
shape (B, channels, …) carries the group of its channels:

- a linear layer or a convolution reads a group with the second axis of its weights, and begins one with the
  first, and its bias;
- batch-norm belongs to the group of its input; activations, pooling, means over places keep it;
- flattened images keep it, too, each channel with as many numbers in a row as it has places;
- where two tensors are added, their groups are one;
- the channels of inputs and outputs stay where they are, and so does every group that meets an operation
  that is not of this list.

The last rule makes the list safe: what is not known costs freedom, never the function.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from langevin.errors import FOREIGN, LangevinError, UserError, first_line

from ..kernels.convolution import ConvPool
from ..nets.layout import places

#: Layers and functions that treat every channel by itself, and all alike.
_KEEPING: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.LeakyReLU, nn.Identity,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
_KEEPING_FUNCTIONS: tuple[Any, ...] = (
    F.relu, torch.relu, torch.tanh, F.tanh, torch.sigmoid, F.gelu, F.silu, F.max_pool2d, F.avg_pool2d,
    "relu", "tanh", "sigmoid", "contiguous",
)  # fmt: skip
_ADDING: tuple[Any, ...] = (operator.add, operator.iadd, torch.add, "add")


class Axis(NamedTuple):
    """An axis of a parameter or buffer along which channels stand, each with `repeat` numbers in a row."""

    name: str
    axis: int
    repeat: int


@dataclass
class Group:
    """Channels that are permuted together.

    Attributes
    ----------
    size : int
        How many there are.
    axes : list of Axis
        Where they stand in parameters and buffers.
    """

    size: int
    axes: list[Axis] = field(default_factory=list)


class _Channels(NamedTuple):
    """The channels of a tensor: their group, and numbers of each in a row."""

    group: int
    repeat: int


def groups(module: nn.Module, inputs: Tensor) -> list[Group]:
    """Return the groups of channels of a module that may be permuted.

    Parameters
    ----------
    module : Module
    inputs : Tensor, shape (B, channels, …)
        Some inputs, to see the shapes of what layers make of them.

    Raises
    ------
    UserError
        If the module has no graph: what it does depends on values, or on more than its input.
    """
    own = deepcopy(module).cpu().double()
    values = inputs.cpu().double() if inputs.is_floating_point() else inputs.cpu()
    try:
        tracer = _Tracer()
        graph = fx.GraphModule(own, tracer.trace(own))
        ShapeProp(graph).propagate(values)
    except LangevinError:
        raise
    except FOREIGN as error:
        raise UserError(
            f"system.align = true: {type(module).__name__} has no graph of operations to find its symmetries "
            f"in ({first_line(error)}); allowed: false"
        ) from error
    return _Walk(own, graph).groups()


class _Tracer(fx.Tracer):
    """Looks into every module but those of torch, and compiled layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one operation."""
        return isinstance(m, ConvPool) or super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """Follows the groups of channels through a graph."""

    def __init__(self, module: nn.Module, graph: fx.GraphModule) -> None:
        self.module, self.graph = module, graph
        self.sizes: list[int] = []
        self.above: list[int] = []
        self.fixed: set[int] = set()
        #: (parameter, axis) → its channels.
        self.axes: dict[tuple[str, int], _Channels] = {}
        self.canonical = {place: name for name, all_of in places(module).items() for place in all_of}

    def groups(self) -> list[Group]:
        """Return the groups that may be permuted."""
        known: dict[fx.Node, _Channels | None] = {}
        for node in self.graph.graph.nodes:
            known[node] = self._after(node, known)
        found: dict[int, Group] = {}
        fixed = {self._root(g) for g in self.fixed}
        for (name, axis), channels in self.axes.items():
            root = self._root(channels.group)
            if root not in fixed and self.sizes[root] > 1:
                found.setdefault(root, Group(self.sizes[root])).axes.append(Axis(name, axis, channels.repeat))
        return list(found.values())

    # Groups.

    def _new(self, size: int, fixed: bool = False) -> _Channels:
        group = len(self.sizes)
        self.sizes.append(size)
        self.above.append(group)
        if fixed:
            self.fixed.add(group)
        return _Channels(group, 1)

    def _root(self, group: int) -> int:
        while self.above[group] != group:
            group = self.above[group]
        return group

    def _join(self, one: _Channels, other: _Channels) -> _Channels:
        """Make one group of two; if their channels do not stand alike, both stay where they are."""
        first, second = self._root(one.group), self._root(other.group)
        if one.repeat == other.repeat and self.sizes[first] == self.sizes[second]:
            self.above[second] = first
        else:
            self.fixed |= {first, second}
        return one

    def _fix(self, *channels: _Channels | None) -> None:
        self.fixed |= {self._root(c.group) for c in channels if c is not None}

    def _stands(self, name: str, axis: int, channels: _Channels) -> None:
        """Note that channels stand along an axis of a parameter; where others do already, they are one."""
        name = self.canonical[name]
        if (name, axis) in self.axes:
            self._join(self.axes[name, axis], channels)
        else:
            self.axes[name, axis] = channels

    # Nodes.

    def _after(self, node: fx.Node, known: Mapping[fx.Node, _Channels | None]) -> _Channels | None:
        """Return the channels of what a node makes; None if it has none."""
        shape = _shape(node)
        given = [known[one] for one in node.all_input_nodes]
        if node.op == "output":
            self._fix(*given)
            return None
        if node.op == "placeholder":
            return self._new(shape[1], fixed=True) if shape is not None and len(shape) > 1 else None
        found = None
        if shape is not None and len(shape) > 1:
            if node.op == "call_module":
                found = self._layer(node, known[node.all_input_nodes[0]])
            elif node.op in ("call_function", "call_method"):
                found = self._function(node, given)
            if found is not None:
                return found
        # Something else: it may depend on the order of the channels.
        self._fix(*given)
        return self._new(shape[1], fixed=True) if shape is not None and len(shape) > 1 else None

    def _layer(self, node: fx.Node, given: _Channels | None) -> _Channels | None:
        """Return the channels after a layer; None if it is not of the list."""
        name = str(node.target)
        layer: Any = self.module.get_submodule(name)
        before = _shape(node.all_input_nodes[0])
        if given is None or before is None:
            return None
        kind = type(layer)
        if kind in _KEEPING:
            return given
        if kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            return _Channels(given.group, given.repeat * math.prod(before[2:]))
        if kind in (nn.BatchNorm1d, nn.BatchNorm2d):
            for key, value in [*layer._parameters.items(), *layer._buffers.items()]:
                if value is not None and value.ndim:
                    self._stands(f"{name}.{key}", 0, given)
            return given
        flat = kind is nn.Linear and len(before) == 2
        image = kind is ConvPool or (kind is nn.Conv2d and layer.groups == 1)
        return self._weights(layer, name, given) if flat or image else None

    def _weights(self, layer: Any, name: str, given: _Channels) -> _Channels:
        """Return the new channels that a linear layer, or a convolution, makes of those given."""
        self._stands(f"{name}.weight", 1, given)
        own = self.axes.get((self.canonical[f"{name}.weight"], 0)) or self._new(len(layer.weight))
        self._stands(f"{name}.weight", 0, own)
        if layer.bias is not None:
            self._stands(f"{name}.bias", 0, own)
        return own

    def _function(self, node: fx.Node, given: list[_Channels | None]) -> _Channels | None:
        """Return the channels after a function or method; None if it is not of the list."""
        known = [c for c in given if c is not None]
        if not known or len(known) < len(given):
            return None
        before, shape = _shape(node.all_input_nodes[0]), _shape(node)
        assert before is not None and shape is not None
        target: Callable[..., Any] | str = node.target
        if len(known) == 1 and _keeps(node, target, before, shape):
            return known[0]
        if target in _ADDING and len(node.args) == 2 and all(isinstance(a, fx.Node) for a in node.args):
            shapes = [_shape(one) for one in node.all_input_nodes]
            return self._join(known[0], known[-1]) if all(s == shape for s in shapes) else None
        if target in (torch.flatten, "flatten") and node.args[1:] == (1,) and not node.kwargs:
            return _Channels(known[0].group, known[0].repeat * math.prod(before[2:]))
        return None


def _keeps(node: fx.Node, target: Any, before: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a function of one tensor treats every channel by itself, and all alike."""
    if target in _KEEPING_FUNCTIONS:
        return True
    if shape[:2] != before[:2]:
        return False
    if target is F.pad:
        sides = node.args[1] if len(node.args) > 1 else ()
        return isinstance(sides, tuple | list) and 0 < len(sides) <= 2 * (len(before) - 2)
    if target is operator.getitem:
        return _places_alone(node.args[1])
    return target in (torch.mean, "mean")


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of what a node makes; None if it is no tensor."""
    meta = node.meta.get("tensor_meta")
    shape = getattr(meta, "shape", None)
    return None if shape is None else tuple(shape)


def _places_alone(index: Any) -> bool:
    """Return whether an index takes all examples and channels, and some of the places."""
    return isinstance(index, tuple) and len(index) > 2 and index[:2] == (slice(None), slice(None))
