"""Where a terminal or a file lacks our characters, ≥ becomes >=, σ sigma, 10⁻⁷ 10^-7.

One handler of encoding errors does it (`ERRORS`), so that whatever an encoding has stays as it is, and no
command knows of it.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

#: Name of the handler of encoding errors.
ERRORS = "langevin.plain"

#: ASCII under a name of our own: click takes a stream whose encoding is called ascii for a mistake, and
#: writes UTF-8 to it.
ASCII = "langevin_ascii"

#: Signs that no decomposition explains.
SIGNS = {
    "−": "-",
    "–": "-",
    "—": "-",
    "·": "*",
    "×": "x",
    "±": "+-",
    "√": "sqrt",
    "∞": "inf",
    "∂": "d",
    "∇": "grad",
    "∏": "prod",
    "∑": "sum",
    "∫": "int",
    "∝": "~",
    "≈": "~",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "≪": "<<",
    "≫": ">>",
    "∈": "in",
    "→": "->",
    "←": "<-",
    "↔": "<->",
    "⟨": "<",
    "⟩": ">",
    "⌊": "floor(",
    "⌋": ")",
    "⌈": "ceil(",
    "⌉": ")",
    "‖": "||",
    "′": "'",
    "⁄": "/",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": "<<",
    "»": ">>",
    "µ": "u",
    "°": "deg",
    "§": "section ",
    "ß": "ss",
    "æ": "ae",
    "Æ": "AE",
    "ø": "o",
    "Ø": "O",
    "ı": "i",
    "ł": "l",
    "Ł": "L",
}

#: Raised and lowered letters: marked once, where they begin.
_MARKS = {"<super>": "^", "<sub>": "_"}


def plain(text: str) -> str:
    """Return a text in ASCII that reads the same; what has no likeness as the escape \\uXXXX."""
    return "".join(_likeness(text, place) for place in range(len(text)))


def visible(text: str) -> str:
    """Return a text whose control characters are escapes: names may hold any."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", _escaped, text)


def plain_toml(text: str) -> str:
    """Return TOML that means the same and is ASCII: escapes in values, likenesses in comments."""
    return "\n".join(
        plain(line) if line.startswith("#") else re.sub(r"[^\x00-\x7f]", _unicode_escape, line)
        for line in text.split("\n")
    )


def register() -> None:
    """Make the handler `ERRORS` and the encoding `ASCII` known; again does no harm."""
    codecs.register_error(ERRORS, _replace)
    codecs.register(_search)


def _escaped(character: re.Match[str]) -> str:
    code = ord(character[0])
    if character[0] == "\n":
        return "\\n"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _unicode_escape(character: re.Match[str]) -> str:
    code = ord(character[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _mark(character: str) -> str:
    return _MARKS.get(unicodedata.decomposition(character).partition(" ")[0], "")


def _likeness(text: str, place: int) -> str:
    """Return what stands for one character of a text."""
    character = text[place]
    if character < "\x80":
        return character
    if character in SIGNS:
        return SIGNS[character]
    if "\udc80" <= character <= "\udcff":
        # A byte of a file name that is no text.
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.combining(character):
        return ""
    name = unicodedata.name(character, "")
    decomposed = unicodedata.normalize("NFKD", character)
    if decomposed != character:
        mark = _mark(character)
        again = place > 0 and mark == _mark(text[place - 1])
        return ("" if again else mark) + plain(decomposed)
    if name.startswith("GREEK") and " LETTER " in name:
        word = name.split()[-1].replace("LAMDA", "LAMBDA")
        return word.capitalize() if "CAPITAL" in name else word.lower()
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, end = error.object, error.end
    # An encoding may have ² and lack ⁻: a power is written one way.
    while end < len(text) and _mark(text[end]) and _mark(text[end]) == _mark(text[end - 1]):
        end += 1
    return "".join(_likeness(text, place) for place in range(error.start, end)), end


class _Incremental(codecs.IncrementalEncoder):
    def encode(self, text: str, final: bool = False) -> bytes:
        return text.encode("ascii", self.errors)


def _search(name: str) -> codecs.CodecInfo | None:
    if name != ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        _Incremental,
        known.incrementaldecoder,
        name=ASCII,
    )
