"""Values that conversions are known to get wrong, each named after the mistake it shows."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_OVERFLOW = 3.4028235677973366e38
"""Half way to the next float32 there would be: from here on, rounding to float32 gives infinity."""

EXTREMES: Mapping[str, float] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "negative zero": -0.0,
    "zero": 0.0,
    "one": 1.0,
    "minus one": -1.0,
    "a third": 1 / 3,
    "smallest denormal": 5e-324,
    "denormal": -1e-310,
    "below float32's denormals": 1e-46,
    "float32 denormal": 1e-40,
    "2^24 + 1": 2.0**24 + 1,
    "-2^24 - 1": -(2.0**24) - 1,
    "2^24 - 1": 2.0**24 - 1,
    "2^31": 2.0**31,
    "epoch seconds": 1763731200.7,
    "a moment before 1970": -0.001,
    "epoch seconds of 1900": -2208988800.5,
    "2^53 - 1": 2.0**53 - 1,
    "2^53 + 2": 2.0**53 + 2,
    "2^63": 2.0**63,
    "-2^63": -(2.0**63),
    "1e15 + 0.3": 1e15 + 0.3,
    "-1e16": -1e16,
    "float32 maximum": FLOAT32_MAX,
    "last double that rounds to a float32": math.nextafter(FLOAT32_OVERFLOW, 0.0),
    "first double that overflows a float32": FLOAT32_OVERFLOW,
    "-1e39": -1e39,
    "1e308": 1e308,
    "-1e308": -1e308,
}
INTEGERS: Mapping[str, int] = {
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "2^24 + 1": 2**24 + 1,
    "2^24 - 1": 2**24 - 1,
    "epoch seconds of 1900": -2208988800,
    "the day before 1970": -86400,
    "2^31 - 1": 2**31 - 1,
    "-2^31": -(2**31),
    "2^31": 2**31,
    "epoch milliseconds": 1763731200123,
    "2^53 - 1": 2**53 - 1,
    "2^53 + 1": 2**53 + 1,
    "-2^53 - 1": -(2**53) - 1,
    "2^63 - 1": 2**63 - 1,
    "-2^63": -(2**63),
}
TEXTS: Mapping[str, str] = {
    "empty text": "",
    "a blank": " ",
    "unseen category": "sqlml: never seen",
    "quotes": 'it\'s a "quoted" \\ one; --',
    "unicode": "naïve 日本 😀",
    "decomposed unicode": "nai\u0308ve",
    "a no-break space": "\u00a0",
    "the word nan": "nan",
    "the word None": "None",
    "the word NULL": "NULL",
    "a number as text": "1",
    "a decimal as text": "1.0",
    "several lines": "a\r\nb\tc",
    "long text": "x" * 3000,
}


def near_misses(text: str) -> dict[str, str]:
    """Texts that somebody might take for this one, and that are not it."""
    made = {
        "upper case": text.upper(), "lower case": text.lower(), "swapped case": text.swapcase(),
        "blank after": text + " ", "blank before": " " + text, "cut": text[:-1], "twice": text * 2,
        "NUL after": text + "\x00", "line end after": text + "\n", "accents decomposed": unicodedata.normalize("NFD", text),
        "accents composed": unicodedata.normalize("NFC", text), "compatible letters": unicodedata.normalize("NFKC", text),
        "case folded": text.casefold(),
    }  # fmt: skip
    return {what: variant for what, variant in made.items() if variant != text}
