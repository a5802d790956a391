"""Build the report or run the tests; `python3 build.py --help` lists the commands.

Needs the standard library alone. It finds or makes an interpreter with the packages of
environment.yml, starts itself again there, and hands over to `lib.commands`.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

from lib.commands import Problem, run
from lib.commands.options import TEST_HELP, parse

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:(?:>=|<|==|!=)[0-9.]+,?)*)")
VERSION = re.compile(r"v?(?:\d+!)?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev))?")


# ---------------------------------------------------------------- environment.yml

def read_environment(text):
    """Read what environment.yml asks for: (the range of Python versions, the pip requirements).

    Understands only that file's block lists, because PyYAML comes with the environment.
    """
    python, pip, pip_indent = "", [], None
    for line in text.splitlines():
        indent, entry = len(line) - len(line.lstrip()), line.split("#")[0].strip()
        if not entry.startswith("- "):
            continue
        if pip_indent is not None and indent <= pip_indent:
            pip_indent = None
        entry = entry[2:].strip().strip("'\"")
        if entry == "pip:":
            pip_indent = indent
        elif pip_indent is not None:
            pip.append(entry)
        elif re.match(r"python\s*[<>=!]", entry):
            python = entry[len("python"):].strip()
    if not python or not pip:
        raise Problem("environment.yml: expected a python range and a pip list")
    return python, pip


def split_requirement(text):
    """Split "torch>=2.11,<3" into ("torch", ">=2.11,<3")."""
    match = REQUIREMENT.fullmatch(text)
    if not match:
        raise Problem(f"environment.yml: {text!r}: expected a name and ranges with >=, <, == or !=")
    return match[1], match[2]


def version_admitted(version, ranges):
    """Whether a version such as "2.11.0+cu128" satisfies ranges such as ">=2.11,<3"."""
    match = VERSION.match(version)
    if not match:
        return False
    release, early = _release(match[1]), match[2] is not None
    for operator, bound in re.findall(r"(>=|<|==|!=)([0-9.]+)", ranges):
        bound = _release(bound)
        # A pre-release precedes its release, and "<3" excludes 3.0rc1 too.
        inside = {">=": release > bound or (release == bound and not early),
                  "<": release < bound,
                  "==": release == bound and not early,
                  "!=": release != bound or early}[operator]
        if not inside:
            return False
    return True


def _release(text):
    numbers = [int(part) for part in text.split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def missing_packages(requirements):
    """The requirements that this interpreter's packages do not meet, each with the version found.
    """
    missing = []
    for text in requirements:
        name, ranges = split_requirement(text)
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        if version is None or not version_admitted(version, ranges):
            missing.append(f"{text} (found {version or 'none'})")
    return missing


# ---------------------------------------------------------------- the environment

# What `train` and `import` need, so that a machine without Jupyter can train.
TRAINING = ("torch", "numpy", "scipy", "opacus", "dp-accounting", "safetensors")


def enter_environment(argv):
    """Return if this interpreter has all requirements, else restart in `.venv` (made if needed)."""
    python_range, requirements = read_environment((ROOT / "environment.yml").read_text("utf-8"))
    needed = requirements
    if argv[:1] in (["train"], ["import"]):
        needed = [text for text in requirements if split_requirement(text)[0] in TRAINING]
    # Removed from the environment, so that child processes do not inherit it.
    entered = os.environ.pop("BUILD_ENTERED", None)
    suits = version_admitted(".".join(map(str, sys.version_info[:3])), python_range)
    if suits and not missing_packages(needed):
        return
    if entered:  # already restarted in .venv, and something is still missing: do not loop
        raise Problem(f"{sys.executable} lacks {', '.join(missing_packages(requirements))}; "
                      f"delete {VENV} and run build.py again")
    if not venv_ready(requirements):
        if not suits:
            raise Problem(python_advice(python_range))
        make_venv(requirements)
    os.environ["BUILD_ENTERED"] = "1"
    sys.stdout.flush()
    command = [str(venv_python()), str(ROOT / "build.py"), *argv]
    if os.name == "nt":  # on Windows, os.exec* returns to the shell before the work is done
        raise SystemExit(subprocess.call(command))
    os.execv(command[0], command)


def python_advice(python_range):
    """One line: which Python is needed, and one that is installed."""
    found = next((name for name in ("python3.13", "python3.12", "python3.11") if _runs(name)), None)
    tail = f"try `{found} build.py`" if found else "install one, then run build.py with it"
    return f"needs Python {python_range}, but this is {sys.version.split()[0]}: {tail}"


def _runs(name):
    path = shutil.which(name)
    if not path:
        return False
    return subprocess.run([path, "-c", ""], capture_output=True).returncode == 0


def venv_python():
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_ready(requirements):
    """Whether `.venv` is complete and has these packages.

    `make_venv` ends by writing the pip list into it as a stamp. Without a matching stamp, as in an
    environment made by hand, its own Python checks the packages.
    """
    if not os.access(venv_python(), os.X_OK) or (VENV / "making").exists():
        return False
    stamp = VENV / "requirements.txt"
    if stamp.exists() and stamp.read_text("utf-8").split("\n") == requirements:
        return True
    code = "import sys; sys.path.insert(0, sys.argv[1]); import build; " \
           "sys.exit(bool(build.missing_packages(sys.argv[2:])))"
    asked = [str(venv_python()), "-c", code, str(ROOT), *requirements]
    return subprocess.run(asked, capture_output=True).returncode == 0


def make_venv(requirements):
    """Make `.venv` from the pip list; empty and refill one that an earlier call left half-made."""
    for module in ("venv", "ensurepip"):
        if util.find_spec(module) is None:
            raise Problem(
                f"{sys.executable} cannot make environments (no module {module}): on Debian or "
                "Ubuntu, `apt install python3-venv`; or run build.py with another Python")
    marker = VENV / "making"
    if marker.exists():
        print(f"{VENV} is incomplete: making it again", flush=True)
    VENV.mkdir(exist_ok=True)
    with open(marker, "a") as lock:
        _wait_for(lock)
        if not marker.exists():
            return  # another build.py made it while this one waited
        # A non-empty marker means that an earlier build.py wrote what is here: safe to delete.
        if os.fstat(lock.fileno()).st_size:
            for entry in set(VENV.iterdir()) - {marker}:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        print("made by build.py", file=lock, flush=True)
        fill_venv(requirements, lock)
        (VENV / "requirements.txt").write_text("\n".join(requirements), "utf-8")
        marker.unlink()


def fill_venv(requirements, lock):
    """Create `.venv`, install the packages, and put this checkout on its import path."""
    print(f"Making {VENV} (about 2 minutes and 5 GB, most of it torch)", flush=True)
    base = getattr(sys, "_base_executable", sys.executable)
    _call([base, "-m", "venv", str(VENV)], "making the environment", lock)
    pip = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    _call([*pip, *requirements], "pip", lock)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([str(venv_python()), "-c", where], text=True).strip()
    Path(packages, "checkout.pth").write_text(f"{ROOT}\n", "utf-8")


def _wait_for(lock):
    """Take the lock; if another build.py is making the environment, wait for it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another build.py is making the environment: waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _call(command, what, lock):
    """Run a set-up command; if it fails, raise Problem with the last lines of its output.

    It inherits the lock, so that a pip that outlives a killed build.py still holds it.
    """
    keep = (lock.fileno(),) if os.name != "nt" else ()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, pass_fds=keep)
    if done.returncode:
        last = "\n".join("  " + line for line in done.stdout.strip().splitlines()[-8:])
        raise Problem(f"{what} failed (exit code {done.returncode}):\n{last}")


def main(argv):
    """Run one command line; returns the exit code."""
    options = parse(argv)
    if options.command == "test" and options.arguments in (["-h"], ["--help"]):
        print(TEST_HELP)
        return 0
    if sys.version_info >= (3, 11):  # report misspelt names before installing anything
        from lib.commands.profiles import select
        if hasattr(options, "only"):
            select(options)
    enter_environment(argv)
    return run(options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        print(f"build.py: {problem}", file=sys.stderr)
        sys.exit(problem.status)
    except BrokenPipeError:  # the reader closed the pipe: `build.py targets | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("\nbuild.py: stopped", file=sys.stderr)
        sys.exit(130)
