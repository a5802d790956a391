"""Options of the tests: the checkout importable, caches below build/, nothing of the user's read or
written.
"""

import atexit
import functools
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = tempfile.TemporaryDirectory(prefix="tests-")
atexit.register(OWN.cleanup)

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true",
                     help="also the tests marked `thorough`, which take minutes")


def pytest_configure(config):
    from hypothesis import configuration, settings

    # Its database and tables would litter the top level; a failure prints how to repeat it anyway.
    configuration.set_hypothesis_home_dir(ROOT / "build" / ".hypothesis")
    settings.register_profile("project", database=None, deadline=None, print_blob=True)
    settings.load_profile("project")
    for marker in ("gpu: needs a CUDA device", "data: needs a data set in $DATA_ROOT",
                   "slow: takes over 10 s", "thorough: takes minutes, and runs with --all alone"):
        config.addinivalue_line("markers", marker)
    _leave_the_users_cache_alone()


def _leave_the_users_cache_alone():
    """An empty cache and store for the whole session, and none of the settings of a study under
    way.
    """
    from lib.commands.variables import published_only

    for name, value in published_only(Path(OWN.name)).items():
        if name == "DATA_ROOT":
            continue  # tests marked `data` look there
        os.environ.pop(name, None)
        if value is not None and name != "STUDY_MODE":
            os.environ[name] = value


def pytest_collection_modifyitems(config, items):
    asking = [item for item in items if item.get_closest_marker("gpu")]
    if asking and not _has_gpu():
        for item in asking:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("thorough"):
                item.add_marker(pytest.mark.skip(reason="runs with --all alone"))


def _has_gpu():
    import torch

    return torch.cuda.is_available()


# Where processes that share the tests write down what they take; not for what a test starts.
SHARED = os.environ.pop("TESTS_SHARED", None)


def pytest_runtest_protocol(item, nextitem):
    """Leave a test to another process that has taken its file (True), where several share them."""
    return None if SHARED is None or taken(item.path.name) else True


@functools.cache
def taken(name):
    """Whether this process takes a file of tests: the first that asks for it does."""
    try:
        Path(SHARED, name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty local store in which studies train, the published rows left out."""
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("STUDY_MODE", "train")
    monkeypatch.setenv("STUDY_PUBLISHED", "0")
    monkeypatch.delenv("STUDY_ASKED", raising=False)
    return tmp_path / "store"
