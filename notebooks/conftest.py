"""nbval: the notebooks run on the published rows alone and train nothing, whatever this machine
holds.
"""

import atexit
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EMPTY = tempfile.TemporaryDirectory(prefix="nbval-")
atexit.register(EMPTY.cleanup)


def kernel_environment():
    """The environment variables of a kernel; None: unset."""
    sys.path.insert(0, str(ROOT))
    try:
        from lib.commands.variables import published_only
    finally:
        sys.path.remove(str(ROOT))
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**published_only(Path(EMPTY.name)), "PYTHONPATH": path}


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """A kernel starts in the set-up of its notebook's first cell, and inherits what is set then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_NOTEBOOK", item.path.stem)
        for name, value in kernel_environment().items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        yield
