"""Places: "Denver, CO 80202", "in Calif.", "5th Ave", "Main St. NW"."""

import re
from collections.abc import Iterable

from synthesizer.text.english.numerals import digit_by_digit
from synthesizer.text.english.tables import END, STARTERS, stop, table

STATES = table(
    "AL Alabama, AK Alaska, AZ Arizona, AR Arkansas, CA California, CO Colorado, CT Connecticut, DE Delaware, FL Florida, "
    "GA Georgia, HI Hawaii, ID Idaho, IL Illinois, IN Indiana, IA Iowa, KS Kansas, KY Kentucky, LA Louisiana, ME Maine, "
    "MD Maryland, MA Massachusetts, MI Michigan, MN Minnesota, MS Mississippi, MO Missouri, MT Montana, NE Nebraska, "
    "NV Nevada, NH New Hampshire, NJ New Jersey, NM New Mexico, NY New York, NC North Carolina, ND North Dakota, OH Ohio, "
    "OK Oklahoma, OR Oregon, PA Pennsylvania, RI Rhode Island, SC South Carolina, SD South Dakota, TN Tennessee, TX Texas, "
    "UT Utah, VT Vermont, VA Virginia, WA Washington, WV West Virginia, WI Wisconsin, WY Wyoming, DC D C"
)
WITH_STOP = "AR CO CT DE IN LA ME OR PA SD".split()  # also words or other initials; states with a full stop or a ZIP code
TOWNS = {  # big towns of states whose codes are also words or other initials
    **dict.fromkeys("Boston Cambridge Worcester Springfield Lowell Salem Amherst Concord Somerville Newton".split(), "MA"),
    **dict.fromkeys("Baltimore Bethesda Annapolis Rockville Frederick".split(), "MD"),
    **dict.fromkeys("Columbus Cleveland Cincinnati Toledo Akron Dayton Canton".split(), "OH"),
    **dict.fromkeys("Tulsa Norman Stillwater City".split(), "OK"),
    **{"Honolulu": "HI", "Hilo": "HI", "Boise": "ID", "Jackson": "MS", "Biloxi": "MS"},
}
WITH_ZIP = "HI ID MA MD MS OH OK".split()  # the same, also at the end of a sentence; states with a ZIP code
OLD_STATES = table(  # after a comma; also words, names or notes of music
    "Ala Alabama, Ark Arkansas, Colo Colorado, Ill Illinois, Ind Indiana, Kan Kansas, Mass Massachusetts, Miss Mississippi, "
    "Mont Montana, Neb Nebraska, Nev Nevada, Ore Oregon, Penn Pennsylvania, Pa Pennsylvania, Tex Texas, Va Virginia, "
    "Vt Vermont, Wash Washington, Ga Georgia, Ky Kentucky, La Louisiana, Md Maryland, Me Maine, Mo Missouri, Del Delaware"
)
OLD_TOWNS = {  # towns of states whose abbreviations are also words or names
    **dict.fromkeys("Boston Cambridge Worcester Springfield Lowell Salem Amherst Concord Plymouth".split(), "Mass"),
    **dict.fromkeys("Seattle Tacoma Spokane Olympia Everett Yakima".split(), "Wash"),
    **dict.fromkeys("Philadelphia Pittsburgh Scranton Harrisburg Allentown Lancaster Erie".split(), "Penn"),
}
_SHOUTED = "ALA CAL COLO IND KAN MONT NEB NEV PENN TEX".replace(" ", "|")  # no words in a text that is all in capitals
FIRST = "CA FL GA IL IA KS KY LA MI MN NC ND NE NH NJ NM NV NY PA RI SC SD TN TX UT VA VT WA WI WV WY".split()  # before a stop
CLEAR_STATES = table(  # anywhere
    "Ariz Arizona, Calif California, Conn Connecticut, Fla Florida, Mich Michigan, Minn Minnesota, Okla Oklahoma, "
    "Tenn Tennessee, Wis Wisconsin, Wyo Wyoming"
)
OLD_NAMES = OLD_STATES | CLEAR_STATES | {"Cal": "California"}
GREETINGS = frozenset(  # before a comma, where no town stands: "Yes, Miss."
    "oh hello hi hey sorry listen thanks dear ah ha okay right sure bye goodbye look wait stop well good welcome night".split()
)
DIRECTIONS = table("NW northwest, NE northeast, SW southwest, SE southeast, N north, E east, S south, W west")
LANDS = (  # after a direction
    "Coast America Africa Asia Europe Korea Carolina Dakota Ireland Wales Yorkshire Sussex Virginia Germany Atlantic "
    "Pacific England Scotland Britain London Brazil India China Japan Australia France Spain Italy Poland Russia Turkey "
    "Iran Iraq Syria Nigeria Kenya Ethiopia Sudan Mexico Canada Argentina Portland Washington Florida Texas Ohio Georgia "
    "Alaska Oregon Colorado Kansas Missouri Michigan Minnesota Montana Wisconsin Pennsylvania Tennessee Kentucky Alabama "
    "Louisiana Oklahoma Arizona Nevada Utah Iowa Calgary Essex Kent"
).split()
STREETS = table("St street, Dr drive, Ct court, Pl place, Ave avenue, Rd road, Ln lane, Blvd boulevard")  # after a name
ROADS = table("ave avenue, blvd boulevard, hwy highway, pkwy parkway")  # anywhere


def _any_case(names: Iterable[str]) -> str:
    """A pattern for the names, as they are and in capitals."""
    return "|".join([*names, *(name.upper() for name in names if len(name) > 2)])


_STREET = re.compile(
    rf"(?<=[a-z])(\s+)({'|'.join(STREETS)})\b(?:\.(?!\s*(?!(?:[NS][EW]|[NS]\.\s?[EW]\.)(?!\w))[A-Z])({END})?|(?![.'-]|\s+[A-Z][a-z]))"
)
_ROAD = re.compile(r"\b(Ave(?!,?\s+[A-Z][a-z])|ave|[Bb]lvd|[Hh]wy|[Pp]kwy)\b(?!\.)")
_ROADS = r"(?:[Ss]t(?:reet)?|[Aa]ve(?:nue)?|[Rr](?:oa)?d|[Bb]lvd|boulevard|Dr|[Dd]rive)"
_DIRECTION = re.compile(
    r"\bNW\b|(?:(?<=street )|(?<=avenue )|(?<=road )|(?<=drive ))(?:NE|SW|SE|[NS]\.\s?[EW]\.)(?!\w)"
    r"|\b(?:NE|SW|SE)(?=\s(?:\d+(?:st|nd|rd|th)|of|corner|side|winds?|quadrant|part|coast|edge|end|quarter)\b)"
    rf"|(?:\b(?:NE|SW|SE)|(?:^|(?<=\b[Ii]n )|(?<=\bof )|(?<=\bto )|(?<=from )|(?<=across ))[NESW])(?=\s(?:{'|'.join(LANDS)})\b)"
    rf"|\b([NESW])\.?(?=\s\d+(?:st|nd|rd|th)\s{_ROADS}\b)|\b([NESW])\.(?=\s(?:{'|'.join(LANDS)})\b)"
    rf"|(?:(?<=\d )|^|(?<=[a-z] ))([NESW])\.?(?=\s[A-Z][a-z]+\s{_ROADS}\b)"
)
_ZIP_CODE = r"\s+(\d{5})(?:-(\d{4}))?(?![\w-]|,\d)"
_STATE = re.compile(
    rf"\b([A-Z]\w*),\s+(?!MT\.\s*[A-Z]|CA\.\s\d{{4}}\b|NE\s(?:{'|'.join(LANDS)})\b)({'|'.join(STATES)})\b(?:(\.)?{_ZIP_CODE}|\.({END})?|(?!['\w-]))"
)
_CLAUSE_ENDS = re.compile(r"[,;)]|[\"']*$")
_ZIP = re.compile(
    rf"\b((?i:zip(?: codes?)?):?|{'|'.join(s for s in STATES if s not in WITH_STOP + WITH_ZIP)}|D\.C\.){_ZIP_CODE}"
)
_OLD_STATE = re.compile(
    rf"(?:\b([A-Z]\w*[a-z],\s)({_any_case(OLD_STATES)}|CAL|Cal(?=\.(?:,|\s[a-z])))|(?<=[A-Z]{{3}},\s)({_SHOUTED})"
    rf"|\b({_any_case(CLEAR_STATES)}))"
    rf"\.({END})?"
)
_AFTER_TOWN = re.compile(
    rf"\b({_any_case(OLD_TOWNS)}),\s({_any_case(dict.fromkeys(OLD_TOWNS.values()))})\b(?:\.({END})?|(?=[,;)]|\s*$))"
)
_WITHOUT_STOP = re.compile(rf"(?<=\w,\s)({_any_case(CLEAR_STATES)})(?=[,;)]|\s*$)")
_FIRST = re.compile(rf"(?:^|(?<=\b[Ii]n )|(?<=\bof )|(?<=\bacross ))({'|'.join(FIRST)})\.(?=\s[a-z])")
_SHOUTED_STREET = re.compile(rf"(?<=[A-Z])(\s)({'|'.join(STREETS).upper()})\b(?:\.(?!\s+[A-Z])({END})?|(?=[,;)]|\s*$))")
_NUMBERED = re.compile(r"\d+(?:[A-Z]{2})?(?:\s[NESW]\.?)?(?:\s[A-Z]+){0,2}$")


def expand(text: str) -> str:
    """Write out states, streets and directions; ZIP codes digit by digit."""
    text = _FIRST.sub(lambda m: STATES[m[1]], _STATE.sub(_state, text))
    text = _ZIP.sub(lambda m: f"{STATES.get(m[1], m[1])} {_zip(m[2], m[3])}", text)
    text = _STREET.sub(_street, text)
    text = _SHOUTED_STREET.sub(_shouted_street, text)
    text = _ROAD.sub(lambda m: ROADS[m[1].lower()], text)
    text = _DIRECTION.sub(lambda m: DIRECTIONS[re.sub(r"[\s.]", "", m[0])], text)
    text = _WITHOUT_STOP.sub(lambda m: OLD_NAMES[m[1].title()], _AFTER_TOWN.sub(_after_town, text))
    return _OLD_STATE.sub(_old_state, text)


def _old_state(match: re.Match[str]) -> str:
    """ "Jackson, Miss." but not "Yes, Miss."."""
    town, *states, _ = match.groups()
    if town and town[:-2].lower() in STARTERS | GREETINGS:
        return match[0]
    return (town or "") + OLD_NAMES[next(filter(None, states)).title()] + stop(match, 5, ends_sentences=True)


def _after_town(match: re.Match[str]) -> str:
    """ "Boston, Mass" and "SEATTLE, WASH.", but not "Boston, Wash"."""
    state = match[2].title()
    if OLD_TOWNS[match[1].title()] != state:
        return match[0]
    return f"{match[1]}, {OLD_NAMES[state]}" + (stop(match, 3, ends_sentences=True) if match[0].endswith(".") else "")


def _shouted_street(match: re.Match[str]) -> str:
    """ "12 OAK LN.", but not "AT 12 SAID DR."."""
    is_numbered = _NUMBERED.search(match.string[max(0, match.start() - 40) : match.start()])
    return match[1] + STREETS[match[2].title()] + stop(match, 3) if is_numbered else match[0]


def _state(match: re.Match[str]) -> str:
    """The state after a town, with its ZIP code."""
    town, state, _, zip_code, more, _ = match.groups()
    has_stop = match[0].endswith(".")
    is_clear = has_stop or (state != "LA" and _CLAUSE_ENDS.match(match.string, match.end()))
    is_other = (state in WITH_ZIP and TOWNS.get(town) != state) or (state in WITH_STOP and not is_clear)
    is_doubtful = is_other or not (town[-1].islower() or has_stop)
    if zip_code:
        return f"{town}, {STATES[state]}, {_zip(zip_code, more)}"
    return match[0] if is_doubtful else f"{town}, {STATES[state]}" + (stop(match, 6, ends_sentences=True) if has_stop else "")


def _zip(code: str, more: str | None) -> str:
    return digit_by_digit(code) + (f", {digit_by_digit(more)}" if more else "")


def _street(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 20) : match.start()].split()[-1]
    is_named = before.lstrip("\"'(")[:1].isupper() or before[0].isdigit()
    return match[1] + STREETS[match[2]] + stop(match, 3) if is_named else match[0]
