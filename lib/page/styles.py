"""The styles that figures repeat, as classes of the page's one style sheet: half of a figure is the
same few styles.
"""

import re

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_STYLED = re.compile(r'(<[A-Za-z][^<>]*?) style="([^"<>]*)"')


def share_styles(parts: list[str]) -> tuple[list[str], str]:
    """(pieces of HTML with a class for each style inside their drawings, the rules of these
    classes).

    A drawing's own element keeps its style: its size is in it.
    """
    classes: dict[str, str] = {}

    def named(match):
        if match[1].startswith("<svg"):
            return match[0]
        return f'{match[1]} class="{classes.setdefault(match[2], f"d{len(classes)}")}"'
    parts = [_SVG.sub(lambda drawing: _STYLED.sub(named, drawing[0]), part) for part in parts]
    return parts, "\n".join(
        f".{name} {{ {style.replace('&quot;', chr(39))} }}" for style, name in classes.items())
