"""The names a PyTorch file may use, and what this project makes of each.

A name is one of four things: a function of the table below, which is this project's own; a class
whose instances become records; a name that may stand in the file but may not be called; or
refused. Nothing is ever imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rnnengine.errors import ModelFormatError, UnsafeFileError, UnsupportedModelError
from rnnengine.importers.torch.inert import Elements, Name, NumpyType, Record, Values, brief
from rnnengine.importers.torch.tensors import (
    DTYPES,
    Quantised,
    StorageRef,
    TensorRef,
    check_extent,
    whole_numbers,
)

__all__ = ["check_name", "constructed", "instance"]

_LONGEST_NAME = 500

# Roots whose functions act on the machine: nothing of these but what the tables below name.
_SYSTEM = frozenset(sys.stdlib_module_names) | {
    "__builtin__", "commands", "copy_reg", "cPickle", "cStringIO", "exceptions", "imp", "nt",
    "distutils", "asyncore", "pipes", "pip", "pkg_resources", "setuptools", "IPython", "cffi",
    "dill", "cloudpickle", "joblib", "torch_package_importer",
}  # fmt: skip

# Records of the standard library that checkpoints carry beside the weights.
_DATA = {
    "argparse": {"Namespace"},
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
        "object", "range", "set", "slice", "str", "tuple", "NoneType", "Ellipsis",
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "functools": {"partial"},
    "math": {"cos", "exp", "log", "sin", "sqrt", "tanh"},
    "pathlib": {
        "Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath",
    },
    "types": {"SimpleNamespace"},
    "typing": {"Any"},
    "uuid": {"UUID"},
}  # fmt: skip

# Functions of frameworks whose result no weight depends on: kept as records.
_INERT = {
    ("torch", "device"),
    ("torch._C", "Generator"),
    ("torch.random", "Generator"),
    ("torch.serialization", "_get_layout"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"),
    ("torch._utils", "_rebuild_nested_tensor"),
    ("torch._utils", "_rebuild_wrapper_subclass"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._pickle", "__generator_ctor"),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random", "__RandomState_ctor"),
    ("omegaconf.base", "ContainerMetadata"),
}
_NUMPY = {"ndarray", "dtype", "bool_", "int64", "int32", "float64", "float32", "float16"}


def check_name(name: Name, where: str) -> Name:
    """Let a name stand, or refuse it.

    Raises
    ------
    UnsafeFileError
        It belongs to the system, or is not the name of a class or function.
    """
    module, attribute = _MODERN.get(name.module, name.module), name.name
    parts = f"{module}.{attribute}".split(".")
    if len(str(name)) > _LONGEST_NAME or not all(part.isidentifier() for part in parts):
        raise UnsafeFileError(f"{where}: the pickle names {str(name)[:80]!r}, which is no name")
    name = Name(module, attribute)
    root = parts[0]
    if root in _SYSTEM:
        if attribute in _DATA.get(module, ()) or (module, attribute) in _FUNCTIONS:
            return name
        raise UnsafeFileError(
            f"{where}: the pickle names {name}, which no model file needs; refused, nothing was"
            " executed. Save the state_dict with torch.save and load that"
        )
    if root == "numpy" and not _is_numpy_data(name):
        raise UnsafeFileError(
            f"{where}: the pickle names {name}; of NumPy, only arrays, scalars and random states"
            " are data"
        )
    return name


_MODERN = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}


def _is_numpy_data(name: Name) -> bool:
    pair = (name.module, name.name)
    if pair in _FUNCTIONS or pair in _INERT:
        return True
    return (name.module == "numpy" and name.name in _NUMPY) or (
        name.module.startswith("numpy.random._") and name.name in ("MT19937", "PCG64")
    )


def constructed(callee: Name, args: tuple[Any, ...], where: str) -> Any:
    """What a call in a pickle stands for.

    Parameters
    ----------
    callee : Name
    args : tuple
    where : str
        Name of the file, for messages.

    Raises
    ------
    UnsafeFileError
        A function that is not known here.
    ModelFormatError
        Arguments that make no sense.
    """
    function = _FUNCTIONS.get((callee.module, callee.name))
    if function is not None:
        try:
            return function(args, where)
        except (IndexError, ValueError, TypeError, AttributeError) as error:
            raise ModelFormatError(
                f"{where}: the pickle calls {callee} with arguments that fit it not"
                f" ({type(error).__name__})"
            ) from None
    if _is_record(callee):
        return Record(callee, args)
    raise UnsafeFileError(
        f"{where}: the pickle calls {callee}, which is not among the functions torch.save writes;"
        " refused, nothing was executed. Save the state_dict with torch.save and load that"
    )


def _is_record(callee: Name) -> bool:
    """Whether calling this name makes an object that can be kept as a record.

    A class of the user's own, told by its capital, is one: an enumeration, a configuration. Where
    a weight turns out to be such a record, it is refused then.
    """
    if (callee.module, callee.name) in _INERT or callee.name in _DATA.get(callee.module, ()):
        return True
    root, last = callee.module.partition(".")[0], callee.name.rpartition(".")[2]
    return root not in ("torch", "numpy", *_SYSTEM) and last[:1].isupper()


def instance(kind: Name, args: tuple[Any, ...], where: str) -> Any:
    """What an object made without a call stands for: a record of its class.

    Raises
    ------
    ModelFormatError
        Arguments that make no sense.
    """
    if kind.module == "builtins" or (kind.module, kind.name) in _FUNCTIONS:
        return constructed(kind, args, where)
    return Record(kind, args)


def _storage(value: Any) -> StorageRef:
    if not isinstance(value, StorageRef):
        raise TypeError("no storage")
    return value


def _tensor(
    storage: StorageRef, dtype: str, offset: Any, size: Any, stride: Any, where: str
) -> TensorRef:
    (offset,) = whole_numbers((offset,), "offset", where)
    tensor = TensorRef(
        storage,
        dtype,
        offset,
        whole_numbers(size, "size", where),
        whole_numbers(stride, "stride", where),
    )
    check_extent(tensor, where)
    return tensor


def _rebuild_tensor(args: tuple[Any, ...], where: str) -> TensorRef:
    storage = _storage(args[0])
    return _tensor(storage, storage.dtype or "uint8", args[1], args[2], args[3], where)


def _rebuild_tensor_v2(args: tuple[Any, ...], where: str) -> TensorRef:
    tensor = _rebuild_tensor(args, where)
    if len(args) > 6 and args[6]:
        raise UnsupportedModelError(
            f"{where}: a tensor marked as a lazy conjugate or negative; resolve it before saving"
        )
    return tensor


def _rebuild_tensor_v3(args: tuple[Any, ...], where: str) -> TensorRef:
    storage, dtype = _storage(args[0]), args[6]
    if not isinstance(dtype, Name) or dtype.module != "torch" or dtype.name not in DTYPES:
        raise UnsupportedModelError(
            f"{where}: a tensor of type {brief(dtype)}; accepted: {[*DTYPES]}"
        )
    return _tensor(storage, dtype.name, args[1], args[2], args[3], where)


def _rebuild_parameter(args: tuple[Any, ...], where: str) -> Any:
    if not isinstance(args[0], (TensorRef, Record)):
        raise TypeError("no tensor")
    return args[0]


def _rebuild_qtensor(args: tuple[Any, ...], where: str) -> TensorRef:
    storage, how = _storage(args[0]), args[4]
    tensor = _tensor(storage, storage.dtype or "uint8", args[1], args[2], args[3], where)
    scheme = how[0].name if isinstance(how[0], Name) else "?"
    if scheme == "per_tensor_affine" and type(how[1]) is float and type(how[2]) is int:
        tensor.quantised = Quantised(scheme, how[1], how[2])
    elif scheme in ("per_channel_affine", "per_channel_affine_float_qparams"):
        if not isinstance(how[1], TensorRef) or not isinstance(how[2], TensorRef):
            raise TypeError("scales are no tensors")
        (axis,) = whole_numbers((how[3],), "axis", where)
        tensor.quantised = Quantised(scheme, how[1], how[2], axis)
    else:
        raise UnsupportedModelError(
            f"{where}: a tensor quantised by {scheme}; accepted: per_tensor_affine and"
            " per_channel_affine"
        )
    return tensor


def _rebuild_from_type(args: tuple[Any, ...], where: str) -> Any:
    function, inner = args[0], args[2]
    if not isinstance(function, Name) or type(inner) is not tuple:
        raise TypeError("no function")
    if function.module != "torch._utils":
        raise UnsafeFileError(f"{where}: the pickle rebuilds a tensor by {function}; refused")
    return constructed(function, inner, where)


def _mapping(args: tuple[Any, ...], where: str) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for pair in args[0] if args else ():
        key, value = pair
        if type(key) not in (str, int):
            raise TypeError("key")
        made[key] = value
    return made


def _counter(args: tuple[Any, ...], where: str) -> Any:
    return args[0] if args and type(args[0]) is dict else {}


def _sequence(args: tuple[Any, ...], where: str) -> Any:
    return Elements(args[0]) if args and isinstance(args[0], (list, tuple)) else Elements()


def _size(args: tuple[Any, ...], where: str) -> Any:
    return whole_numbers(args[0], "size", where)


def _encoded(args: tuple[Any, ...], where: str) -> bytes:
    """Bytes as protocol 2 writes them: text of their code points."""
    if args[1] not in ("latin1", "latin-1"):
        raise ValueError("encoding")
    return str.encode(args[0], "latin-1")


def _old_instance(args: tuple[Any, ...], where: str) -> Any:
    if not isinstance(args[0], Name):
        raise TypeError("no class")
    return instance(args[0], (), where)


def _numpy_type(args: tuple[Any, ...], where: str) -> NumpyType:
    if type(args[0]) is not str or len(args[0]) > 64:
        raise TypeError("no type code")
    return NumpyType(args[0])


def _numpy_scalar(args: tuple[Any, ...], where: str) -> Values:
    dtype = args[0] if isinstance(args[0], NumpyType) else None
    data = args[1] if len(args) > 1 and isinstance(args[1], bytes) else None
    return Values(dtype, (), False, data, scalar=True)


def _numpy_from_buffer(args: tuple[Any, ...], where: str) -> Values:
    data = args[0] if isinstance(args[0], (bytes, bytearray)) else None
    dtype = args[1] if isinstance(args[1], NumpyType) else None
    return Values(dtype, whole_numbers(args[2], "shape", where), args[3] == "F", data)


_Function = Callable[[tuple[Any, ...], str], Any]

_FUNCTIONS: dict[tuple[str, str], _Function] = {
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): lambda args, where: {},
    ("collections", "Counter"): _counter,
    ("collections", "deque"): _sequence,
    ("builtins", "set"): _sequence,
    ("builtins", "frozenset"): _sequence,
    ("copyreg", "_reconstructor"): _old_instance,
    ("_codecs", "encode"): _encoded,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._utils", "_rebuild_qtensor"): _rebuild_qtensor,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch.jit._pickle", "build_boollist"): _sequence,
    ("torch.jit._pickle", "build_doublelist"): _sequence,
    ("torch.jit._pickle", "build_intlist"): _sequence,
    ("torch.jit._pickle", "build_tensorlist"): _sequence,
    ("torch.jit._pickle", "restore_type_tag"): lambda args, where: args[0],
    ("numpy", "dtype"): _numpy_type,
    ("numpy.core.multiarray", "_reconstruct"): lambda args, where: Values(),
    ("numpy._core.multiarray", "_reconstruct"): lambda args, where: Values(),
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy.core.numeric", "_frombuffer"): _numpy_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _numpy_from_buffer,
}
