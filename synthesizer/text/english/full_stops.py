"""Words that a full stop may follow inside a sentence, and what tells that it ends there."""

from synthesizer.text.english.abbreviations import ABBREVIATIONS, BEFORE_NUMBER
from synthesizer.text.english.units import UNITS

NEVER_LAST = frozenset("mr mrs ms messrs dr drs prof mt vs v cf viz ca approx avg incl excl e.g i.e a.k.a".split())
_DATES = frozenset("jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun".split())
_OTHERS = frozenset("n° al ed eds trans ibid sq cu hr hrs pres supt cmdr".split())
SHORT_FORMS = _DATES | _OTHERS | ABBREVIATIONS.keys() | BEFORE_NUMBER.keys()
WORDS_TOO = frozenset("no nos art max min mar jun sat sun wed".split())  # short for something only where a number follows
UNIT_SYMBOLS = frozenset([*UNITS, "in"])
HALVES = ("a.m", "p.m")
BEFORE_TIME = frozenset("at by before after around about until till from since on".split())
AFTER_TIME = frozenset(  # 10 a.m. Monday
    "monday tuesday wednesday thursday friday saturday sunday est edt cst cdt mst mdt pst pdt gmt utc eastern pacific".split()
)
EXCLAIMED = frozenset("yahoo jeopardy".split())  # names with an exclamation mark
