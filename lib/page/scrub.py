"""Find and replace paths that belong to a machine, so that none is published."""

import re
from pathlib import Path
from typing import Any

from lib.paths import ROOT

_DATA_ADDRESS = re.compile(r"data:[\w/+.;=-]+,[A-Za-z0-9+/=%_.~-]*")
# Folders of other users' homes: a notebook may carry outputs of another machine.
_HOMES = r"/(?:home|Users)/[\w.-]+|[A-Za-z]:\\{1,2}Users\\{1,2}[\w.-]+"


class PathScrubber:
    """Replaces the checkout by its relative form and home folders by ~."""

    def __init__(self, *, root: Path = ROOT, home: Path | None = None) -> None:
        home = Path.home() if home is None else Path(home)
        self._checkout = _pattern(root)
        # A home that is the file system's root ("/" in some containers) says nothing.
        own = [_pattern(home).pattern] if home != Path(home.anchor) else []
        self._home = re.compile("|".join([*own, rf"(?<![\w.~])(?:{_HOMES})"]))

    def clean(self, text: str) -> str:
        """The text without paths of the machine."""
        text = re.sub(self._checkout.pattern + r"/", "", text)
        return self._home.sub("~", self._checkout.sub("[checkout]", text))

    def clean_tree(self, value: Any) -> Any:
        """The same for the strings (keys too) inside dicts, lists and tuples."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self.clean_tree(key): self.clean_tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_tree(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    def find(self, text: str) -> list[str]:
        """The paths that the text shows; embedded files (data: addresses) are not text."""
        text = _DATA_ADDRESS.sub("", text)
        return self._checkout.findall(text) + self._home.findall(text)


def _pattern(folder):
    return re.compile(rf"(?<![\w.~]){re.escape(str(folder))}(?![\w-])")
