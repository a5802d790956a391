"""`test`: pytest over tests/, then each notebook against its committed outputs (nbval)."""

import json
import subprocess
import sys
from pathlib import Path

from lib import processes
from lib.commands.terminal import say
from lib.paths import BUILD, NOTEBOOKS, ROOT
from lib.processes import stoppable

NOTHING_COLLECTED = 5  # pytest's exit code
COMMON = ("-o", f"cache_dir={BUILD / '.pytest_cache'}", "--rootdir", str(ROOT), "--timeout=600", "-rs")
NBVAL = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "-q")
COVERAGE = BUILD / "coverage.json"
TAKE_A_VALUE = ("-k", "-m", "-p", "-o", "-c", "-W", "--tb", "--durations", "--maxfail", "--timeout")


def test(options):
    """Run the tests with these pytest arguments, `--coverage` apart, which is ours; returns pytest's exit code."""
    given = [part for part in options.arguments if part != "--coverage"]
    run = covered if "--coverage" in options.arguments else lambda arguments: pytest(arguments).wait()
    with stoppable():
        if names_a_path(given):
            notebooks = any(".ipynb" in part or Path(part).resolve() == NOTEBOOKS for part in given)
            return run([*(NBVAL if notebooks else ()), *given])
        codes = [run([*given, str(ROOT / "tests")])]
        if codes[0] in (0, NOTHING_COLLECTED) or "-x" not in given:
            codes += check_notebooks(given)
    real = [code for code in codes if code not in (0, NOTHING_COLLECTED)]
    return real[0] if real else min(codes)


def names_a_path(arguments):
    """Whether the user said which tests: a file or folder, perhaps with ::name."""
    values = [part for before, part in zip(["", *arguments], arguments) if before not in TAKE_A_VALUE]
    return any(not part.startswith("-") and Path(part.partition("::")[0]).exists() for part in values)


def covered(arguments):
    """Run pytest and say what it ran of lib/; returns its exit code.

    By slipcover, which changes the code's own bytes: coverage.py's tracer takes a third more time where Python is before 3.12.
    """
    COVERAGE.parent.mkdir(exist_ok=True)
    COVERAGE.unlink(missing_ok=True)
    code = pytest(arguments, through=("slipcover", "--source", str(ROOT / "lib"), "--json", "--out", str(COVERAGE), "-m")).wait()
    if COVERAGE.exists():  # a run that was killed leaves none
        say("\n".join(coverage_lines(json.loads(COVERAGE.read_text("utf-8")))))
    return code


def coverage_lines(found):
    """A line a module that was not run whole, the least run first: the share of its lines, and how many are left."""
    modules = [(one["summary"]["percent_covered"], name, one["summary"]) for name, one in found["files"].items() if one["missing_lines"]]
    return [f"\n{int(found['summary']['percent_covered'])}% of the lines of lib/ were run (other processes are not counted)",
            *(f"{int(share):5}%  {left['missing_lines']:4} of {left['covered_lines'] + left['missing_lines']:4} not run  {name}"
              for share, name, left in sorted(modules, key=lambda module: module[:2]))]


def check_notebooks(given):
    """nbval over notebooks/, as many at a time as there are cores; returns the exit codes."""
    files = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    jobs = min(processes.cores(), len(files), 8)
    say(f"\n{len(files)} notebooks against their outputs (nbval), {jobs} at a time" if files else
        "\nno notebooks with outputs to check")
    runs = [pytest([*NBVAL, *given, *map(str, files[job::jobs])], jobs=jobs, stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT, text=True, errors="replace") for job in range(jobs)]
    for run in runs:
        say(run.communicate()[0].rstrip())
    return [run.returncode for run in runs]


def pytest(arguments, *, jobs=1, through=(), **how):
    """Start pytest with its share of the cores; through: a module, with its arguments, that runs it."""
    environment = processes.child_environment(**processes.thread_settings(jobs))
    return processes.start([sys.executable, "-m", *through, "pytest", *COMMON, *arguments], environment=environment, **how)
