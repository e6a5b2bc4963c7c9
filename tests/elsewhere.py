"""A device that every machine has: its tensors compute on the processor, and refuse to meet tensors that are not on it.

It has no float64, like the GPUs of Apple.

So what would fail on an accelerator, because something stayed behind, fails without one. The name of the device is ``meta``,
for which torch looks for no driver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

DEVICE = torch.device("meta")
# Of values: an accelerator is waited for, but that is allowed.
READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__"}
aten = torch.ops.aten
# Indices and masks on the processor are allowed of tensors elsewhere.
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Elsewhere(Tensor):
    """A tensor on that device; ``inner`` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        """As ``inner``, but for the device."""
        shape = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, inner.size(), **shape, device=DEVICE)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Every operation is that of ``elsewhere``."""
        raise AssertionError(f"{func} was called outside of elsewhere()")


class _Operations(TorchDispatchMode):
    """Computes on ``inner``; its results are where their arguments are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        target = given.get("device")
        tensors = [value for value in tree_iter((args, given)) if isinstance(value, Tensor)]
        away = [value for value in tensors if isinstance(value, Elsewhere)]
        here = [value for value in tensors if not isinstance(value, Elsewhere) and value.dim()]  # a number may be anywhere
        moves = func is aten.copy_.default or (func in INDEXES and isinstance(args[0], Elsewhere))
        if away and here and not moves:
            shapes = [[tuple(value.shape) for value in side] for side in (away, here)]
            raise RuntimeError(f"{func}: tensors of shapes {shapes[0]} are elsewhere, and {shapes[1]} are not")
        if target is not None:
            given["device"] = torch.device("cpu")
        found = func(*tree_map(_inner, args), **tree_map(_inner, given))
        own = {id(value.inner): value for value in away}  # what is changed in place stays the tensor that it was
        moved = bool(away) if target is None else torch.device(target) == DEVICE
        if func is aten.copy_.default:
            moved = isinstance(args[0], Elsewhere)
        if not moved:
            return found
        if any(isinstance(value, Tensor) and value.dtype == torch.float64 for value in tree_iter(found)):
            raise TypeError(f"{func}: there is no float64 elsewhere")
        return tree_map(lambda value: own.get(id(value), Elsewhere(value)) if isinstance(value, Tensor) else value, found)


class _Functions(TorchFunctionMode):
    """What does not pass through operations: tensors made of numbers, and values that are read."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func in (torch.tensor, torch.as_tensor):
            device = given.pop("device", None)
            return func(*args, **given) if device is None else func(*args, **given).to(device)
        if args and isinstance(args[0], Elsewhere):
            if name in READS:
                return func(args[0].inner)
            if name in ("numpy", "__array__"):
                raise TypeError("a tensor that is elsewhere has no array; it must be brought to the processor before")
        return func(*args, **given)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Where `Elsewhere` can be computed with."""
    autocast: Callable[..., Any] = torch.autocast

    def allowed(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if device_type == DEVICE.type else autocast(device_type, *args, **kwargs)

    # SpeechBrain asks torch for these.
    precision = mock.patch("torch.get_autocast_dtype", return_value=torch.float32)
    enabled = mock.patch("torch.is_autocast_enabled", return_value=False)
    with mock.patch("torch.autocast", allowed), precision, enabled, _Functions(), _Operations():
        yield


def send(module: nn.Module) -> None:
    """Put all parameters and buffers of a module there; what is neither stays, as it would stay behind ``Module.to``."""
    for part in module.modules():
        for key, parameter in list(part._parameters.items()):
            if parameter is not None:
                setattr(part, key, nn.Parameter(Elsewhere(parameter.detach()), requires_grad=parameter.requires_grad))
        for key, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[key] = Elsewhere(buffer)
