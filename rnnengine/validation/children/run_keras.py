"""The job in Keras 3 or tf_keras: ``file`` is a model with its configuration."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """The framework cannot do the job."""


class Answerer:
    """A model loaded in safe mode; rnnengine has refused files with code in them before."""

    notes: tuple[str, ...] = ()

    def __init__(self, job: dict[str, Any], _: dict[str, Any]) -> None:
        import importlib

        keras = importlib.import_module(job["framework"])
        self.version = f"{job['framework']} {keras.__version__}"
        try:
            self._model = keras.models.load_model(job["file"], compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its layers raise
            raise Refused(f"{type(error).__name__}: {str(error)[:300]}") from None
        self._names: list[str] = job["names"]

    def __call__(self, _: int, feeds: dict[str, Any]) -> list[dict[str, Any]]:
        """Outputs in the model's order, under the names of the job."""
        import numpy as np

        self._reset()
        given = list(feeds.values())
        found = self._model(given if len(given) > 1 else given[0], training=False)
        values = list(found.values()) if isinstance(found, dict) else found
        listed = values if isinstance(values, list | tuple) else [values]
        arrays = [np.asarray(self._array(v)) for v in listed]
        return [dict(zip(self._names, arrays, strict=True))]

    def _reset(self) -> None:
        for layer in self._model.layers:
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
                layer.reset_states()

    @staticmethod
    def _array(value: Any) -> Any:
        detached = value.detach() if hasattr(value, "detach") else value
        return detached.cpu().numpy() if hasattr(detached, "cpu") else detached
