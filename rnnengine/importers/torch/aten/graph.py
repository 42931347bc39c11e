"""An exported program and its tensors to a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    ShapeError,
    UnsupportedModelError,
)
from rnnengine.graph import Dim, Graph, Size, TensorType, UndecidedError, Value, substitute, symbol
from rnnengine.graph.verify import verify
from rnnengine.importers.torch.aten.call import CONVERTERS, Builder, Call, Handle, resolved
from rnnengine.importers.torch.aten.program import Node, Program, Ref, Subgraph, numpy_type
from rnnengine.importers.torch.inert import brief
from rnnengine.ops.sizes import check_size

__all__ = ["arrays", "import_program", "program_inputs"]

Array = np.ndarray[Any, Any]
Fetch: TypeAlias = Callable[[str], Array]

_NOTHING = (
    "_assert_tensor_metadata.default", "sym_constrain_range_for_size.default",
    "sym_constrain_range.default", "_assert_scalar.default", "_assert_async.msg",
)  # fmt: skip
_REGIONS = (
    "torch.ops.higher_order.wrap_with_set_grad_enabled",
    "torch.ops.higher_order.wrap_with_autocast",
)
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "neg": operator.neg,
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
"""Functions on sizes, as ``_operator.<name>`` in the program."""


def import_program(
    program: Program, fetch: Fetch, where: str, sizes: Mapping[str, int] | None = None
) -> Graph:
    """Build the graph of an exported program.

    Parameters
    ----------
    program : Program
    fetch : callable(name) -> array
        Numbers of a parameter, buffer or constant.
    where : str
        Name of the file for messages.
    sizes : mapping of str to int, optional
        Numbers for free sizes.

    Returns
    -------
    Graph
        Inputs bear the names of the program. Free sizes are named after the input and axis where
        they first come up. Outputs bear their key where the program returns a dictionary, the
        words of torch where a recurrent layer computes them, and else their name in the program.

    Raises
    ------
    ModelFormatError
        The program contradicts itself.
    UnsupportedModelError
        Names the node, the operator and the argument that is not supported.
    """
    try:
        return verify(_Importer(program, fetch, sizes or {}).run(where))
    except ShapeError as error:
        raise ModelFormatError(f"{where}: {error}") from None
    except UndecidedError as error:
        raise UnsupportedModelError(
            f"{where}: {error} cannot be decided while sizes are open; export with fixed sizes"
        ) from None
    except RNNEngineError as error:
        if not str(error).startswith(where):
            error.args = (f"{where}: {error}",)
        raise


def program_inputs(program: Program) -> tuple[Value, ...]:
    """Inputs of the user, with free sizes as symbols."""
    return tuple(_Importer(program, arrays({}, ""), {}).graph_inputs)


class _Importer:
    def __init__(self, program: Program, fetch: Fetch, sizes: Mapping[str, int]) -> None:
        self.program = program
        self.sizes = sizes
        self.fetch = fetch
        self.values: dict[str, Any] = {}
        self.graph_inputs = self._inputs()
        self.builder = Builder(self.graph_inputs, [])

    def _inputs(self) -> list[Value]:
        """Inputs of the user, with their sizes named after them."""
        names: dict[str, Size] = {}
        found = []
        for spec in self.program.inputs:
            if spec.kind != "user_input":
                continue
            if spec.name not in self.program.types:
                raise ModelFormatError(f"input {spec.name!r} has no type")
            kind, shape = self.program.types[spec.name]
            for axis, size in enumerate(shape):
                if isinstance(size, Dim) and len(size.terms) == 1 and str(size) not in names:
                    self._check_limits(spec.name, axis, str(size))
                    name = f"{spec.name}_{axis}"
                    names[str(size)] = self.sizes.get(name, symbol(name))
            sizes = tuple(substitute(size, names) for size in shape)
            dtype = numpy_type(kind, f"input {spec.name!r}")
            found.append(Value(spec.name, TensorType(dtype, sizes)))
        if len({value.name for value in found}) != len(found):
            raise ModelFormatError("two inputs of the program have one name")
        return found

    def _check_limits(self, name: str, axis: int, size: str) -> None:
        """Refuse limits on a size: beyond them the program would have taken another branch."""
        least, most = self.program.limits.get(size, (0, None))
        if least > 2 or (most is not None and most < 1 << 31):
            raise UnsupportedModelError(
                f"input {name!r}: the size of axis {axis} is limited to {least}.."
                f"{'' if most is None else most}; accepted: sizes that are free from 2 up, and "
                "fixed ones. Export without min and max, or with that size fixed"
            )

    def run(self, where: str) -> Graph:
        """Convert everything."""
        self._bind()
        self._nodes(self.program.body)
        outputs = self._outputs()
        return Graph(
            name="torch",
            inputs=tuple(self.graph_inputs),
            outputs=outputs,
            nodes=tuple(self.builder.nodes),
            constants=self.builder.constants,
            source=where,
        )

    def _bind(self) -> None:
        """Give every input of the program its meaning."""
        for spec in self.program.inputs:
            if spec.kind == "user_input":
                self.values[spec.name] = Handle(spec.name)
            elif spec.kind != "constant_input":
                array = self.fetch(spec.target)
                if array.dtype.kind in "iu":
                    array = self._whole(array, spec.target)
                elif array.dtype.kind == "f":
                    array = array.astype(np.float32)
                elif array.dtype.kind != "b":
                    raise UnsupportedModelError(
                        f"{spec.kind} {spec.target!r} is of type {array.dtype}; accepted: floats "
                        "and integers"
                    )
                name = self.builder.exact(spec.target, array)
                self.builder.paths.setdefault(name, spec.target)
                self.values[spec.name] = Handle(name)

    @staticmethod
    def _whole(array: Array, name: str) -> Array:
        """Integers in the one type the engine has."""
        limits = np.iinfo(np.int32)
        if array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
            raise UnsupportedModelError(f"constant {name!r} has integers that do not fit 32 bits")
        return array.astype(np.int32)

    def _nodes(self, graph: Subgraph) -> None:
        for node in graph.nodes:
            self._node(node)

    def _node(self, node: Node) -> None:
        target = node.target.removeprefix("torch.ops.")
        if node.target in _REGIONS:
            self._region(node)
            return
        if target.removeprefix("aten.") in _NOTHING:
            return
        module, _, word = node.target.rpartition(".")
        if module in ("_operator", "operator") and word in _ARITHMETIC:
            call = Call(self.builder, node, self.values)
            operands = [call.take(name) for name in node.args]
            if not all(isinstance(v, int | Dim) for v in operands):
                raise UnsupportedModelError(f"{call.where}: accepted on sizes only")
            self._bound(node, [check_size(_ARITHMETIC[word](*operands))], False)
            return
        mutates = target.startswith("aten.") and target.split(".")[1].endswith("_")
        plain = target if not mutates else target.replace("_.", ".", 1)
        if plain not in CONVERTERS:
            raise UnsupportedModelError(
                f"node {node.name!r}: operator {target} is not supported; accepted: "
                + ", ".join(sorted({name.split(".")[1] for name in CONVERTERS}))
            )
        convert, views = CONVERTERS[plain]
        call = Call(self.builder, node, self.values)
        try:
            result = convert(call)
        except RNNEngineError as error:
            if target not in str(error):
                error.args = (f"{call.where}: {error}",)
            raise
        call.finish()
        changed = self._changed(node, call.where) if mutates else []
        self._bound(node, result if isinstance(result, list) else [result], views and not mutates)
        for name in changed:
            self.values[name] = self.values[str(node.outputs[0])]

    def _changed(self, node: Node, where: str) -> list[str]:
        """Names of the tensor that an operator changes in place.

        Raises
        ------
        UnsupportedModelError
            Something else sees that memory.
        """
        first = next(iter(node.args.values()), None)
        changed = self.values.get(first.name) if isinstance(first, Ref) else None
        fixed = [self.values[s.name] for s in self.program.inputs if s.name in self.values]
        if not isinstance(changed, Handle) or changed in fixed or len(node.outputs) != 1:
            raise UnsupportedModelError(
                f"{where}: it changes an input or a parameter of the program in place; accepted: "
                "programs that only compute outputs"
            )
        handles = {n: v for n, v in self.values.items() if isinstance(v, Handle)}
        for name, handle in handles.items():
            if handle.root is changed.root and handle is not changed:
                raise UnsupportedModelError(
                    f"{where}: it changes a tensor in place whose memory {name!r} shares; accepted:"
                    " changes that nothing else sees. Write it without the change in place"
                )
        return [name for name, handle in handles.items() if handle is changed]

    def _bound(self, node: Node, results: Sequence[Any], views: bool) -> None:
        """Give the results of a call their names in the program."""
        wanted = [n for n in node.outputs if n != ""]
        if len(results) < len(wanted):
            raise ModelFormatError(
                f"node {node.name!r}: has {len(wanted)} results; {node.target} gives {len(results)}"
            )
        root = self._root(node) if views else None
        for names, result in zip(node.outputs, results, strict=False):
            if isinstance(names, tuple):
                if not isinstance(result, list) or len(result) != len(names):
                    raise ModelFormatError(f"node {node.name!r}: expected {len(names)} results")
                for name, part in zip(names, result, strict=True):
                    self._set(name, part, root)
            elif names:
                self._set(names, result, root)

    def _set(self, name: str, result: Any, root: object | None) -> None:
        if name in self.values:
            raise ModelFormatError(f"{name!r} is computed twice")
        self.values[name] = Handle(result, root) if isinstance(result, str) else result

    def _root(self, node: Node) -> object | None:
        for value in node.args.values():
            found = self.values.get(value.name) if isinstance(value, Ref) else None
            if isinstance(found, Handle):
                return found.root
        return None

    def _region(self, node: Node) -> None:
        """A graph that is run under some setting of autograd, which changes no number."""
        args = list(node.args.values())
        graphs = [a for a in args if isinstance(a, Subgraph)]
        autocast = node.target.endswith("autocast") and True in [a for a in args if a is True]
        if len(graphs) != 1 or autocast:
            raise UnsupportedModelError(
                f"node {node.name!r}: {node.target.removeprefix('torch.ops.')} is not supported; "
                "accepted: torch.no_grad(). Export without autocast"
            )
        inner, outer = graphs[0], self.values
        operands = args[args.index(inner) + 1 :]
        flat = [n for o in node.outputs for n in ((o,) if isinstance(o, str) else o)]
        if len(operands) != len(inner.inputs) or len(flat) != len(inner.outputs):
            raise ModelFormatError(f"node {node.name!r}: its graph takes or gives something else")
        where = f"node {node.name!r}"
        self.values = {
            name: resolved(value, outer, where)
            for name, value in zip(inner.inputs, operands, strict=True)
        }
        self._nodes(inner)
        results = [resolved(value, self.values, where) for value in inner.outputs]
        self.values = outer
        for name, result in zip(flat, results, strict=True):
            self.values[name] = result

    def _outputs(self) -> tuple[str, ...]:
        """Give the results of the program their names."""
        found: list[str] = []
        keys = self.program.names
        for (_, argument), key in zip(self.program.outputs, keys, strict=True):
            if not isinstance(argument, Ref):
                raise UnsupportedModelError(
                    f"an output of the program is {brief(argument)}; accepted: tensors"
                )
            value = self.values.get(argument.name)
            if not isinstance(value, Handle):
                raise UnsupportedModelError(
                    f"output {argument.name!r} is no tensor; accepted: tensors"
                )
            words = self.builder.words.get(value.name, argument.name)
            name = key if key and keys.count(key) == 1 else words
            found.append(self.builder.output(name, value.name))
        return tuple(found)


def arrays(tensors: Mapping[str, Array], where: str) -> Fetch:
    """Make a lookup that names what is missing."""

    def fetch(name: str) -> Array:
        if name not in tensors:
            raise ModelFormatError(
                f"{where}: the file has no tensor {name!r}, which the graph uses"
            )
        return tensors[name]

    return fetch
