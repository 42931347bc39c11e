"""The job in onnxruntime: ``file`` is an ONNX model."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """The framework cannot do the job."""


class Answerer:
    """A session on the file, one thread."""

    notes: tuple[str, ...] = ()

    def __init__(self, job: dict[str, Any], _: dict[str, Any]) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.version = f"onnxruntime {ort.__version__}"
        try:
            self._session = ort.InferenceSession(
                job["file"], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each status
            raise Refused(str(error)[:300]) from None
        self._fixed = {name: value for name, value in job.get("constants", {}).items()}

    def __call__(self, _: int, feeds: dict[str, Any]) -> list[dict[str, Any]]:
        """Outputs by name."""
        import numpy as np

        wanted = {i.name: i.type for i in self._session.get_inputs()}
        types = {
            "tensor(float)": "f4", "tensor(double)": "f8", "tensor(int32)": "i4",
            "tensor(int64)": "i8", "tensor(bool)": "?",
        }  # fmt: skip
        given = {**{k: np.array(v) for k, v in self._fixed.items()}, **feeds}
        cast = {k: given[k].astype(types[t]) for k, t in wanted.items() if k in given}
        names = [o.name for o in self._session.get_outputs()]
        return [dict(zip(names, self._session.run(None, cast), strict=True))]
