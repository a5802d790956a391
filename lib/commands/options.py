"""The command line of build.py: commands, options, help pages.

build.py imports this before the environment exists: use the standard library alone, and no syntax
newer than Python 3.8.
"""

import argparse
import re
from pathlib import Path
from typing import NoReturn

from lib.commands import Problem

EXAMPLES = """\
examples:
  python3 build.py report                     all on generated digits; minutes, no downloads
  python3 build.py report laptop --budget 2h  MNIST, Fashion-MNIST, CIFAR-10; stops after 2 hours,
                                              continues when run again
  python3 build.py plan paper --only 11       how long notebook 11 would take at paper scale
  python3 build.py plan paper --save runs.json    write down what is missing, to train elsewhere
  python3 build.py train runs.json --budget 8m --store rows/    there: without notebooks
  python3 build.py import rows/               back here: check the rows and keep them
  python3 build.py report my_settings/        a folder of your own, one YAML file per notebook
  python3 build.py report paper --cluster tcp://login1:8786
                                              train on the workers of a Dask cluster
  python3 build.py test                       run the tests and check the notebooks' outputs

The first call creates an environment in .venv, unless your Python already has the packages of
environment.yml. `python3 build.py COMMAND --help` explains the options of a command."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(
            f"{message} (see `python3 build.py {self.prog.partition(' ')[2] or ''} --help`)".
            replace("  ", " "), 2)


def duration(text: str) -> float:
    """Convert "90s", "9m" or "1.5h" to seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 9m or 1.5h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def positive(text: str) -> int:
    """Check that a text is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def address(text: str) -> str:
    """Check the address of a Dask scheduler."""
    match = re.fullmatch(r"tcp://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if not match or not 0 < int(match[1]) < 65536:
        raise argparse.ArgumentTypeError(
            f"expected an address such as tcp://login1:8786, got {text!r}")
    return text


def folder(text: str) -> Path:
    """The absolute path of an existing folder."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not an existing folder")
    return path.resolve()


def place_of_file(text: str) -> Path:
    """The absolute path of a file to write, in an existing folder."""
    path = Path(text).expanduser().resolve()
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a file in an existing folder")
    return path


def place(text: str) -> Path:
    """The absolute path of a folder, which need not exist yet."""
    path = Path(text).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} exists but is not a folder")
    return path


def build_parser() -> argparse.ArgumentParser:
    """Define the commands and their options; each command has a help page."""
    parser = Parser(
        prog="build.py", epilog=EXAMPLES, allow_abbrev=False,
        description="Does differential privacy stop backdoor attacks? Builds the report.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add = lambda name, text, more="": commands.add_parser(  # noqa: E731
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
        allow_abbrev=False)
    report = add(
        "report", "run the notebooks and write the report, one HTML file",
        "Trains the runs whose results are missing and keeps each result, so that a stopped build "
        "continues where it was.")
    plan = add("plan", "print what a report would train and how long that would take")
    notebooks = add(
        "notebooks", "run every notebook with its own defaults, on the published rows alone, "
        "and write the outputs into the .ipynb beside it")
    targets = add("targets", "list each figure, table and claim of the papers, with its verdict")
    train = add(
        "train", "train the runs of a saved plan, on a machine without notebooks",
        "Needs torch, numpy, scipy, opacus, dp-accounting and safetensors, and what the data sets "
        "of the plan need. Trains in the plan's order, group by group; every finished group is "
        "kept.")
    bring = add("import", "check rows that were trained elsewhere, and take them into the store")
    export = add("export", "copy rows from the local store into notebooks/results/, to commit them")
    bench = add("bench", "run the benchmarks")
    commands.add_parser("test", help="run the tests and check the notebooks' outputs",
                        add_help=False)
    for sub in (report, plan):
        sub.add_argument("profile", nargs="?", metavar="PROFILE",
                         help=f"{PROFILE_HELP} (default: quick)")
    export.add_argument("profile", metavar="PROFILE", help=PROFILE_HELP)
    _add_options(report, plan, notebooks, export, train)
    plan.add_argument("--save", type=place_of_file, metavar="FILE",
                      help="also write the missing runs into a file, for `train`")
    train.add_argument("plan", type=Path, metavar="FILE", help="a plan, from `plan --save`")
    train.add_argument("--own-files", action="store_true", help="accept runs that name files of "
                       "their own: code runs, and files are read")
    bring.add_argument("folder", type=Path, metavar="DIR", help="the store of `train --store`")
    bring.add_argument("--store", dest="into", type=place, metavar="DIR",
                       help="local store of rows (default: dp-backdoors/store in your cache "
                       "folder)")
    bench.add_argument("name", nargs="?", metavar="NAME",
                       help="one benchmark, such as dpsgd-head (default: all)")
    bench.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                       help="where to train (default: cpu)")
    for sub in (targets, bench):
        sub.add_argument("--json", action="store_true", help="print JSON")
    return parser


PROFILE_HELP = (
    "smoke, quick, laptop or paper (see params/), or a folder of your own with one YAML file per "
    "notebook")


def _add_options(report, plan, notebooks, export, train):
    for sub in (report, plan, notebooks, export):
        sub.add_argument("--only", metavar="11,12", default="",
                         help="only these notebooks, by number")
    for sub in (report, plan, notebooks, export, train):
        sub.add_argument(
            "--jobs", type=positive, metavar="N",
            help="number of processes, which share the cores (default for notebooks: one per core, "
            "up to 8; for training: 2 on a CPU, 1 on a GPU)")
    for sub in (report, plan, export, train):
        sub.add_argument("--store", type=place, metavar="DIR", help="local store of rows "
                         "(default: dp-backdoors/store in your cache folder)")
        sub.add_argument("--data", type=folder, metavar="DIR", help="folder with the data sets "
                         "(default: $DATA_ROOT; if unset, they are downloaded)")
        sub.add_argument("--device", choices=("cpu", "cuda"),
                         help="where to train (default: cuda if available)")
    for sub, whole in ((report, "build"), (train, "command")):
        sub.add_argument(
            "--budget", type=duration, metavar="9m",
            help=f"time for the whole {whole} (s, m or h): start no training that would take "
            "longer, abandon training that does, and say what is left")
    report.add_argument(
        "--cluster", type=address, metavar="tcp://HOST:PORT",
        help="train on the workers of the Dask cluster with this scheduler (README, Run "
        "many); --jobs then sets the number of notebooks only")
    report.add_argument("--out", type=place, metavar="DIR",
                        help="folder for the page (default: build/PROFILE)")
    known = report.add_mutually_exclusive_group()
    known.add_argument("--fresh", action="store_true",
                       help="train everything again, in a new store beside the page")
    known.add_argument("--read-only", action="store_true",
                       help="train nothing; show the results there are")
    known.add_argument(
        "--train", action="store_true", help="train even the profile paper on a CPU; "
        "without this option and without a GPU it only shows published rows")
    report.add_argument(
        "--compare", nargs=2, metavar=("A", "B"),
        help="show two profiles side by side and mark differences beyond the intervals; "
        "trains nothing")
    report.add_argument("--retry-failed", action="store_true",
                        help="train again the runs that failed before")


def parse(argv: "list[str]") -> argparse.Namespace:
    """Parse the command and its options; raises Problem with exit code 2 if they are wrong."""
    if argv[:1] == ["test"]:  # everything else is for pytest
        return argparse.Namespace(command="test", arguments=argv[1:])
    options = build_parser().parse_args(argv)
    if options.command is None:
        raise Problem(
            "no command given: `python3 build.py report` builds the report, --help lists all "
            "commands", 2)
    if getattr(options, "compare", None) and options.profile:
        raise Problem(
            f"{options.profile} --compare {' '.join(options.compare)}: --compare already names two "
            f"profiles; remove {options.profile}", 2)
    useless = [
        name for name in ("fresh", "train", "retry_failed", "budget", "cluster")
        if getattr(options, "compare", None) and getattr(options, name)
    ]
    if useless:
        raise Problem(
            f"--compare with --{useless[0].replace('_', '-')}: --compare trains nothing; build "
            "each profile first, then compare them", 2)
    if hasattr(options, "profile"):
        options.profile = options.profile or "quick"
    return options


TEST_HELP = """\
usage: build.py test [PYTEST ARGS]

Run the tests in tests/, and check each notebook against its committed outputs (nbval).
Arguments go to pytest: `build.py test -x -k privacy`. A path runs only that file:
`build.py test tests/test_build.py`. The exit code is pytest's.
--coverage: also print how much of each module of lib/ the tests ran.
--all: also run the tests that take minutes: every mutant of the privacy code, and the long test
  that kills builds and resumes them.

Without a path or a selection, one process per core (up to four) runs the tests; the processes share
the files of tests/. The first prints its output as it runs, the others when they finish."""
