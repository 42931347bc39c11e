"""Open model files where some packages cannot be imported; run as a program by test_blocked.py.

``python blocked.py REQUEST`` with ``{"blocked": [...], "golden": [...], "files": [[path, {arguments
of rn.load}], ...]}``; prints ``{"opened": [...], "refused": {name: message}, "imported": [...]}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any


class Wall:
    """A finder that stands before all others and refuses some packages."""

    def __init__(self, blocked: list[str]) -> None:
        self.blocked = frozenset(blocked)

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in self.blocked:
            raise ImportError(f"{name} is blocked")


def main(request: dict[str, Any]) -> dict[str, Any]:
    sys.meta_path.insert(0, Wall(request["blocked"]))
    import rnnengine as rn
    from golden_files import FILES, error_of, load, outputs

    opened, refused = [], {}
    for name in request["golden"]:
        error_of(FILES[name], outputs(FILES[name], load(FILES[name])))
        opened.append(name)
    for path, arguments in request["files"]:
        told = dict(arguments)
        if "architecture" in told:
            told["architecture"] = eval(told["architecture"], {"rn": rn})
        try:
            rn.load(path, **told)
            opened.append(path)
        except rn.UnsupportedModelError as error:
            refused[path] = str(error)
    imported = sorted({name.partition(".")[0] for name in sys.modules} & set(request["blocked"]))
    return {"opened": opened, "refused": refused, "imported": imported}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
