"""What drawings repeat, once for the whole page: styles as classes of its style sheet, the shapes
of markers, ticks and letters as symbols of one hidden drawing.
"""

import re

_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_STYLED = re.compile(r'(<[A-Za-z][^<>]*?) style="([^"<>]*)"')
_SYMBOL = re.compile(r'<path id="([^"]+)"([^>]*?/>)')
_PLAIN = re.compile(r' (class|x|y|width|height|id)="([\w.-]+)"(?=[ >/])')
_PATH = re.compile(r' d="([^"]+)"(?=[ >/])')
_CLOSED = re.compile(r"(=[\w.,-]+)/>")  # the slash would be read as part of the value
_REFERENCE = re.compile(r'(href="|url\()#([^")]+)')


def share_styles(parts: list[str]) -> tuple[list[str], str]:
    """(pieces of HTML with a class for each style inside their drawings, the rules of these
    classes).

    A drawing's own element keeps its style: its size is in it.
    """
    classes: dict[str, str] = {}

    def named(match):
        if match[1].startswith("<svg") or "url(" in match[2]:
            return match[0]
        return f'{match[1]} class="{classes.setdefault(match[2], f"d{len(classes)}")}"'
    parts = [_SVG.sub(lambda drawing: _STYLED.sub(named, drawing[0]), part) for part in parts]
    return parts, "\n".join(
        f".{name} {{ {style.replace('&quot;', chr(39))} }}" for style, name in classes.items())


def share_symbols(parts: list[str]) -> tuple[list[str], str]:
    """(pieces of HTML whose drawings point to common symbols, one hidden drawing with these)."""
    symbols: dict[str, str] = {}

    def drawing(match):
        names: dict[str, str] = {}

        def take(symbol):
            names[symbol[1]] = symbols.setdefault(symbol[2], f"s{len(symbols)}")
            return ""
        text = _SYMBOL.sub(take, match[0])
        text = _REFERENCE.sub(lambda link: f"{link[1]}#{names.get(link[2], link[2])}", text)
        return re.sub(r"<defs\s*/>|<defs></defs>", "", text)
    parts = [_SVG.sub(drawing, part) for part in parts]
    shapes = "".join(f'<path id="{name}"{shape}' for shape, name in symbols.items())
    hidden = f'<svg class="symbols" width="0" height="0" aria-hidden="true">{shapes}</svg>'
    return parts, hidden if shapes else ""


def without_quotes(part: str) -> str:
    """A piece of HTML whose drawings have no quotes around plain words and numbers."""
    def bare(drawing):
        head, end, rest = drawing[0].partition(">")
        rest = _PATH.sub(lambda path: f" d={path[1].replace(' ', ',')}", rest)
        return head + end + _CLOSED.sub(r"\1 />", _PLAIN.sub(r" \1=\2", rest))
    return _SVG.sub(bare, part)
