"""The versions of the packages that environment.yml asks for, as they are installed here.

See `COMMAND`.
"""

import platform
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python tests/versions.py > tests/versions.txt"


def lines():
    """The lines of tests/versions.txt: how it is made, Python, and a line a package, in the order
    of environment.yml.
    """
    import build

    _, requirements = build.read_environment((ROOT / "environment.yml").read_text("utf-8"))
    names = [build.split_requirement(text)[0] for text in requirements]
    return [
        f"# The versions that the tests passed with. After they pass with others: {COMMAND}",
        f"python=={platform.python_version()}",
        *(f"{name}=={metadata.version(name)}" for name in names)
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print("\n".join(lines()))
