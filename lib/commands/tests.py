"""`test`: pytest over tests/, then each notebook against its committed outputs (nbval)."""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lib import processes
from lib.commands.terminal import say
from lib.paths import BUILD, NOTEBOOKS, ROOT
from lib.processes import stoppable

NOTHING_COLLECTED = 5  # pytest's exit code
COMMON = ("-o", f"cache_dir={BUILD / '.pytest_cache'}", "--rootdir", str(ROOT), "--timeout=600",
          "-rs")
NBVAL = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "-q")
ALL = "--all"  # an option of tests/conftest.py
COVERAGE = BUILD / "coverage.json"
SHARED = {ALL, "-x", "-q", "-v"}  # with further arguments the tests run in one process
TAKE_A_VALUE = ("-k", "-m", "-p", "-o", "-c", "-W", "--tb", "--durations", "--maxfail", "--timeout")


def test(options: Namespace) -> int:
    """Run the tests with these pytest arguments; returns pytest's exit code.

    Two arguments are our own: `--coverage`, and `--all`, which adds the tests that take minutes.
    """
    given = [part for part in options.arguments if part != "--coverage"]
    covered = "--coverage" in options.arguments
    with stoppable():
        if names_a_path(given):
            notebooks = any(".ipynb" in part or Path(part).resolve() == NOTEBOOKS for part in given)
            return run([*(NBVAL if notebooks else ()), *given], covered=covered)
        jobs = min(processes.cores(), 4) if set(given) <= SHARED else 1
        codes = [run([*given, str(ROOT / "tests")], covered=covered, jobs=jobs)]
        if codes[0] in (0, NOTHING_COLLECTED) or "-x" not in given:
            codes += check_notebooks([part for part in given if part != ALL])
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """One exit code for several: the first failure's, if any failed."""
    codes = list(codes)
    real = [code for code in codes if code not in (0, NOTHING_COLLECTED)]
    return real[0] if real else min(codes)


def names_a_path(arguments: list[str]) -> bool:
    """Whether the arguments name a test file or folder, perhaps with ::name."""
    values = [part for before, part in zip(["", *arguments], arguments)
              if before not in TAKE_A_VALUE]
    return any(not part.startswith("-") and Path(part.partition("::")[0]).exists()
               for part in values)


def run(arguments: list[str], *, covered: bool = False, jobs: int = 1) -> int:
    """Run pytest in `jobs` processes, and print the coverage of lib/ if `covered`.

    Returns the exit code.

    The processes share the test files: each takes the next one that no other has taken (see the
    fixture in tests/conftest.py). The first prints as it runs, the others when they finish.
    """
    with tempfile.TemporaryDirectory(prefix="shared-") as folder, ExitStack() as files:
        reports = [Path(folder, f"coverage-{job}.json") for job in range(jobs)]
        outputs = [files.enter_context(open(Path(folder, f"output-{job}"), "w+b"))
                   for job in range(1, jobs)]
        started = [pytest(arguments, jobs=jobs, through=slipcover(report) if covered else (),
                          shared=Path(folder) if jobs > 1 else None, **how)
                   for report, how in zip(reports, [{}, *(
                       {"stdout": output, "stderr": subprocess.STDOUT} for output in outputs)])]
        codes = [child.wait() for child in started]
        for output in outputs:
            output.seek(0)
            say(output.read().decode("utf-8", "replace").rstrip())
        if covered:
            say("\n".join(coverage_lines(merged(reports))))
    return worst(codes)


def slipcover(report: Path) -> tuple[str, ...]:
    """The module that measures the coverage of lib/, with its arguments; append "pytest".

    slipcover instruments the bytecode. coverage.py's tracer takes a third more time before Python
    3.12.
    """
    return "slipcover", "--source", str(ROOT / "lib"), "--json", "--out", str(report), "-m"


def merged(reports: list[Path]) -> dict[str, Any]:
    """Merge the coverage reports of several processes into build/; a killed process wrote none."""
    made = [str(report) for report in reports if report.exists()]
    COVERAGE.parent.mkdir(exist_ok=True)
    COVERAGE.unlink(missing_ok=True)
    if made:
        command = [sys.executable, "-m", "slipcover", "--json", "--out", str(COVERAGE),
                   "--merge", *made]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(COVERAGE.read_text("utf-8")) if made else {}


def coverage_lines(found: dict[str, Any]) -> list[str]:
    """A line for each incompletely covered module, least covered first: its share, lines not run.
    """
    if not found:
        return []
    modules = [(report["summary"]["percent_covered"], name, report["summary"])
               for name, report in found["files"].items() if report["missing_lines"]]
    head = (f"\nthe tests ran {int(found['summary']['percent_covered'])}% of the lines of lib/ "
            "(not counting child processes)")
    return [head, *(
        f"{int(share):5}%  {lines['missing_lines']:4} of "
        f"{lines['covered_lines'] + lines['missing_lines']:4} not run  {name}"
        for share, name, lines in sorted(modules, key=lambda module: module[:2]))]


def check_notebooks(given: list[str]) -> list[int]:
    """Run nbval over notebooks/, one process per core (up to 8); returns the exit codes."""
    files = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    jobs = min(processes.cores(), len(files), 8)
    say(f"\nchecking {len(files)} notebooks against their outputs (nbval), {jobs} at a time"
        if files else "\nno notebooks with outputs to check")
    runs = [pytest([*NBVAL, *given, *map(str, files[job::jobs])], jobs=jobs,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            for job in range(jobs)]
    for child in runs:
        say(child.communicate()[0].rstrip())
    return [child.returncode for child in runs]


def pytest(arguments: list[str], *, jobs: int = 1, through: tuple[str, ...] = (),
           shared: Path | None = None, **how: Any) -> subprocess.Popen:
    """Start pytest with its share of the cores.

    through: a module that runs pytest, with its arguments. shared: the folder where processes that
    share the tests record which files they have taken.
    """
    environment = processes.child_environment(**processes.thread_settings(jobs),
                                              TESTS_SHARED=shared)
    command = [sys.executable, "-m", *through, "pytest", *COMMON, *arguments]
    return processes.start(command, environment=environment, **how)
