"""The command line of build.py: commands, options, help pages.

Standard library alone, and no newer syntax than Python 3.8's: build.py reads it before there is an
environment.
"""

import argparse
import re
from pathlib import Path
from typing import NoReturn

from lib.commands import Problem

EXAMPLES = """\
examples:
  python3 build.py report                     everything on drawn digits, in minutes; no data needed
  python3 build.py report laptop --budget 2h  MNIST, Fashion-MNIST, CIFAR-10; stops in time,
                                              goes on next time
  python3 build.py plan paper --only 11       how long notebook 11 would take at the paper's scale
  python3 build.py report my_settings/        the YAML files of your own folder, one a notebook
  python3 build.py report paper --cluster tcp://login1:8786
                                              train on the workers of a Dask cluster
  python3 build.py test                       the tests, and the outputs of the notebooks

The first call makes the environment (.venv) unless the Python it is started with has all of
environment.yml. `python3 build.py COMMAND --help` explains the options of a command."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(
            f"{message} (see `python3 build.py {self.prog.partition(' ')[2] or ''} --help`)".
            replace("  ", " "), 2)


def duration(text: str) -> float:
    """Seconds from "90s", "9m", "1.5h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 9m or 1.5h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def address(text: str) -> str:
    """Where a Dask scheduler listens."""
    match = re.fullmatch(r"tcp://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if not match or not 0 < int(match[1]) < 65536:
        raise argparse.ArgumentTypeError(
            f"expected an address such as tcp://login1:8786, got {text!r}")
    return text


def folder(text: str) -> Path:
    """A folder that exists, as an absolute path."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path.resolve()


def place(text: str) -> Path:
    """A folder that may be made later, as an absolute path."""
    path = Path(text).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is there and is not a folder")
    return path


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options; each has a help page."""
    parser = Parser(
        prog="build.py", epilog=EXAMPLES, allow_abbrev=False,
        description="Does differential privacy stop backdoor attacks? Builds the report.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add = lambda name, text, more="": commands.add_parser(  # noqa: E731
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".strip(), allow_abbrev=
        False)
    report = add(
        "report", "run the notebooks and write the report, one HTML file",
        "What is not known yet is trained, and kept: a build that was stopped goes on where it was."
    )
    plan = add("plan", "say what a report would train and how long that takes; train nothing")
    notebooks = add(
        "notebooks", "run every notebook with its own defaults, on the published rows alone, "
        "and write the outputs into the .ipynb beside it")
    targets = add("targets", "list each figure, table and claim of the papers, with its verdict")
    export = add("export", "copy rows from the local store into notebooks/results/, for committing")
    bench = add("bench", "run the benchmarks")
    commands.add_parser("test", help="run the tests, and check the outputs of the notebooks",
                        add_help=False)
    for sub in (report, plan):
        sub.add_argument("profile", nargs="?", metavar="PROFILE",
                         help=f"{PROFILE_HELP}; quick if not named")
    export.add_argument("profile", metavar="PROFILE", help=PROFILE_HELP)
    _add_options(report, plan, notebooks, export)
    bench.add_argument("name", nargs="?", metavar="NAME",
                       help="one of them, such as dpsgd-head; all if not named")
    for sub in (targets, bench):
        sub.add_argument("--json", action="store_true", help="print JSON")
    return parser


PROFILE_HELP = (
    "smoke, quick, laptop, paper (see params/), or a folder of your own with a YAML file a notebook"
)


def _add_options(report, plan, notebooks, export):
    for sub in (report, plan, notebooks, export):
        sub.add_argument("--only", metavar="11,12", default="",
                         help="only these notebooks, by number")
        sub.add_argument(
            "--jobs", type=positive, metavar="N",
            help="processes at a time, which share the cores (notebooks: as many as there are "
            "cores, up to 8; training: 2 on a CPU, 1 on a GPU)")
    for sub in (report, plan, export):
        sub.add_argument("--store", type=place, metavar="DIR", help="the local store of rows "
                         "(default: dp-backdoors/store in your cache)")
        sub.add_argument("--data", type=folder, metavar="DIR", help="where the data sets are "
                         "(default: $DATA_ROOT, else they are downloaded)")
        sub.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA if there is any")
    report.add_argument(
        "--budget",
        type=duration,
        metavar="9m",
        help=(
            "start no training that would not end in this time from now (s, m or h), and give up"
            " what does not; the page then says what is left"
        ),
    )
    report.add_argument(
        "--cluster",
        type=address,
        metavar="tcp://HOST:PORT",
        help=(
            "train on the workers of the Dask cluster whose scheduler listens there, not here"
            " (README, Many machines); --jobs then counts notebooks alone"
        ),
    )
    report.add_argument("--out", type=place, metavar="DIR",
                        help="where the page goes (default: build/PROFILE)")
    known = report.add_mutually_exclusive_group()
    known.add_argument("--fresh", action="store_true",
                       help="train everything anew, in a store beside the page")
    known.add_argument("--read-only", action="store_true", help="train nothing: show what is known")
    known.add_argument(
        "--train", action="store_true", help="train what is missing also for the profile paper "
        "without a GPU, which else shows published rows")
    report.add_argument(
        "--compare", nargs=2, metavar=("A", "B"),
        help="two profiles side by side, with what is known of each; "
        "differences beyond the intervals are marked; trains nothing")
    report.add_argument("--retry-failed", action="store_true",
                        help="train again what failed before")


def parse(argv: "list[str]") -> argparse.Namespace:
    """The command and its options; wrong ones are a Problem with exit code 2."""
    if argv[:1] == ["test"]:  # all the rest is pytest's
        return argparse.Namespace(command="test", arguments=argv[1:])
    options = build_parser().parse_args(argv)
    if options.command is None:
        raise Problem(
            "no command given: `python3 build.py report` builds the report, --help explains all", 2)
    if getattr(options, "compare", None) and options.profile:
        raise Problem(
            f"{options.profile} --compare {' '.join(options.compare)}: --compare names its two"
            f" profiles itself; leave {options.profile} out",
            2,
        )
    useless = [
        name for name in ("fresh", "train", "retry_failed", "budget", "cluster")
        if getattr(options, "compare", None) and getattr(options, name)
    ]
    if useless:
        raise Problem(
            f"--compare with --{useless[0].replace('_', '-')}: --compare shows what is known and"
            " trains nothing; train each profile first",
            2,
        )
    if hasattr(options, "profile"):
        options.profile = options.profile or "quick"
    return options


TEST_HELP = """\
usage: build.py test [PYTEST ARGS]

Run the tests of tests/, and each notebook of notebooks/ against its committed outputs (nbval).
Arguments go to pytest: `build.py test -x -k privacy`; a path runs only that:
`build.py test tests/test_build.py`. The exit code is pytest's.
--coverage: also say how much of each module of lib/ the tests ran.
--all: also what takes minutes: every mutant of the privacy code, and the long soak of kills.

Without further arguments the tests run in as many processes as there are cores (up to four), which
share the files of tests/; the first prints as it goes, the others at the end."""
