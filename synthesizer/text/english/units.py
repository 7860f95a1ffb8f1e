"""Units after a number: "5 km", "3 m/s", "20 °C", "3 sq. ft"."""

import re

from synthesizer.text.english.numerals import cardinal, plural
from synthesizer.text.english.tables import table

_METRIC = table(
    "m meter, g gram, l liter, L liter, W watt, V volt, Hz hertz, Pa pascal, bit bit, B byte, J joule, Wh watt-hour, "
    "eV electronvolt, Ω ohm, A amp, mol mole, s second"
)
_PREFIXES = table("k kilo, M mega, G giga, T tera, c centi, d deci, m milli, µ micro, n nano, h hecto")
_PREFIXED = (
    "km cm dm mm µm nm kg mg µg ml mL cl cL dl dL µl µL kW MW GW mW kV mV kHz MHz GHz hPa kPa MPa Mbit Gbit kbit kB MB GB TB "
    "kJ MJ kWh MWh GWh keV MeV GeV kΩ MΩ mA mmol ms µs ns"
).split()
_ALONE = ["m", "g", "l", "L", "W", "V", "Hz", "Pa", "J", "Wh", "eV", "Ω", "mol", "s"]
_OTHERS = table(
    "lb pound, lbs pound, oz ounce, ft foot, yd yard, mi mile, mph mile per hour, kph kilometer per hour, h hour, hr hour, "
    "hrs hour, min minute, mins minute, sec second, secs second, yr year, yrs year, ha hectare, gal gallon, pt pint, "
    "qt quart, kbps kilobit per second, Mbps megabit per second, Gbps gigabit per second, KB kilobyte, dB decibel, "
    "rpm revolution per minute, RPM revolution per minute, fps frame per second, dpi dot per inch, "
    "psi pound per square inch, bpm beat per minute, tsp teaspoon, tbsp tablespoon, tsps teaspoon, tbsps tablespoon, "
    "mpg mile per gallon, kmh kilometer per hour, ppm part per million, ppb part per billion, Tsp teaspoon, Tbsp tablespoon, "
    "Nm newton-meter, mos month, wk week, wks week, mAh milliamp-hour, Ah amp-hour, "
    "ft-lb foot-pound, lb-ft foot-pound, cal calorie, kcal kilocalorie, hp horsepower, px pixel, kn knot, "
    "FT foot, LB pound, LBS pound, OZ ounce, MPH mile per hour, "
    "°C degree celsius, °F degree fahrenheit, °K degree kelvin, ° degree"
)
_SAME_PLURAL = {"hertz", "kilohertz", "megahertz", "gigahertz", "horsepower"}


def _prefixed(symbol: str) -> str:
    """ "km" -> "kilometer"."""
    return _PREFIXES[symbol[0]] + _METRIC[symbol[1:]]


# symbol: name in the singular
UNITS = {s: _METRIC[s] for s in _ALONE} | {s: _prefixed(s) for s in _PREFIXED} | _OTHERS
UNITS |= {"fl oz": "fluid-ounce", "fl. oz": "fluid-ounce"}

_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_POWER = r"\^?([23])(?!\d)"
_MEASURE = re.compile(
    r"(?<![\w.,])(?P<amount>(?:\d+[ -])?\d+/\d+|\d(?:[\d,]*\d)?(?:\.\d+)?)(?P<gap>[\s-]?)(?P<power>sq\.?\s|cu\.?\s)?"
    rf"(?:(?P<unit>{_UNIT})(?P<exponent>{_POWER})?|(?P<inch>in)(?=\.(?:\s+[a-z0-9]|,|\s*$)|²))"
    rf"(?:\s?/\s?(?P<per>{_UNIT})(?P<per_exponent>{_POWER})?)?(?![\w'°])(?P<stop>\.(?=\s+[a-z0-9]|,|-\w))?(?P<until>-(?=\d))?"
)
_AMPS = re.compile(
    r"(?:\b(?P<before>[A-Za-z]+)\.?\s)?(?<![\w.,-])(?P<amount>\d+(?:\.\d+)?)(?P<gap>\s?)A(?![\w'-]|\.?\s?[Mm]\b|\s(?:[A-Z]|grades?\b|levels?\b|day\b))"
)
_LABELS = frozenset(  # what 5A may name
    (
        "apartment apt article block box bus chapter class door exhibit fig figure flat floor form gate grade group hall house "
        "item level line no number option page part plan problem question room route row rule seat section step suite table "
        "type unit ward year zone"
    ).split()
)
_LETTERED_FIGURE = re.compile(r"\d\s?[B-F]\b")
_CUP = re.compile(r"(?<![\w.,])(?P<amount>(?:\d+[ -])?\d+(?:/\d+)?)\s(?P<unit>[cT])\.?(?=\s[a-z]+)")
_PER = re.compile(rf"(?<=\bper )(sq\.?\s)?({_UNIT})(?![\w'])")
VOWELLESS = "km kg cm mph kph kmh rpm mpg fps dpi ppm ppb bpm kbps".split()  # no words, so units without a number too
_RATES = "|".join([*_PREFIXED, *"m g ft mi L l".split()])
_ALONE_UNIT = re.compile(
    rf"(?<![\w.,'/&-])(?<!\d\s)(?<!\bper\s)(?:({_RATES})/(s|h|hr|min|sec|l|L|dL|ml|mL|m|cm|km|kg|mol)(?:\^?([23]))?"
    rf"|({'|'.join(VOWELLESS)}))(?![\w'/&^-]|\.\w)"
)
_COUNTS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|hundred|thousand"
)
_AFTER_WORD = re.compile(
    rf"\b((?i:{_COUNTS}))([ -])(ft|lbs?|oz|yd|mi|hrs?|mins?|km|kg|cm|mm)\b(?:\.(?=\s[a-z]|,|-))?(?![\w'/])"
)
_HEIGHT = re.compile(
    r"(?<![\w.,])(\d+)(?:'|\s?(?:ft|feet|foot)\b\.?)\s?(\d+)(?:\"|''|(?<=\d'\d)(?![\w'])|(?<=\d'1[01])(?![\w'])|\s?in\b\.?(?!\s(?:the|a|an|his|her|my|its|our)\b))"
)
# 5 kg - 10 kg, 5 - 10 km: from less to more
_SPACED_RANGE = re.compile(rf"(?<![\w.,])(\d[\d,.]*)(\s?(?:{_UNIT}|%))?\s-\s(?=(\d[\d,.]*)\s?(?:{_UNIT}|%)(?![\w'-]))")
_AREA = re.compile(r"(?<![\w^-])(km|cm|mm|dm|ft|mi|yd)\^?([23²³])(?!\w)")
_DURATION = re.compile(
    r"(?<![\w.,])(?=\d+[wdhm])(?:(\d+)w\s?)?(?:(\d+)d\s?)?(?:(\d+)h(?:rs?)?\s?)?(?:(\d+)(?:m(?:ins?)?|(?<=h\d\d))\s?)?(?:(\d+(?:\.\d+)?)s(?:ecs?)?)?"
    r"(?<!\s)(?!\w)"
)
_TIME_WORDS = ("week", "day", "hour", "minute", "second")
# Figures before s are a plural after these, and seconds after those.
_PLURAL_AFTER = re.compile(
    r"\b(?:the|these|those|his|her|my|your|our|their|sizes?|sizes (?:are|were|in)|two|three|four|some|many|few|several|old|new"
    r"|five|six|seven|eight|nine|ten|all|straight|wears?|wore|early|mid|late|of|by|Windows|Model|Type|Series|Class|Mark|Phone|Galaxy|Pixel|Boeing)\s$|[A-Za-z]-$"
)
_SECONDS_BEFORE = re.compile(
    r"\s(?:of (?:sound|audio|video|speech|silence|music|footage)|(?:ads?|timers?|clips?|videos?|delays?|timeouts?|exposures?"
    r"|intervals?|breaks?|pauses?|limits?|rules?|countdowns?|loops?|samples?|recordings?|spots?))\b"
)
_SECONDS_AFTER = re.compile(
    r"\b(?:takes?|took|lasts?|lasted|after|within|every|waits?|waited|between"
    r"|(?:times?|delays?|intervals?|pauses?|clips?|timeouts?) (?:of|are|were)) $",
    re.I,
)
_FIGURES = re.compile(r"(?<![\w.,'-])\d+s(?:,\s\d+s)*,?\s(?:and|or|&)\s\d+s(?![\w'-])")


# What an amount can describe: then it is singular, as it is after an article.
_NOUN = re.compile(
    r"-[a-z]|\s(?:(?:bill|note|coin|ticket|fine|fee|deal|prize|reward|question|gift|tip|budget|loan|bet|grant|deposit|discount|stamp|"
    r"race|run|dash|sprint|hurdle|relay|swim|final|freestyle|backstroke|butterfly|hike|turn|angle|rotation|fence|wall|pole|board|pipe|"
    r"screen|monitor|TV|film|movie|video|clip|rule|ad|sample|recording|countdown|exposure|interval|loop|spot|timer|episode|show|class|course|lesson|session|workout|lunch|dinner|meal|burger|beer|coffee|fuse|breaker|charger|circuit|socket|plug|outlet|supply|adapter|motor|plywood|lumber|display|laptop|ruler|tire|wheel|bolt|nail|screw|drill|view|bend|arc|panorama|camera|floppy|room|rug|poster|tent|boat|trailer|truck|tree|guard|oven|fare|card|lens|gun|shell|pizza|drive|disk|bulb|tank|bottle|"
    r"bag|box|can|jar|tablet|pill|dose|flight|wait|delay|meeting|break|shift|timeout|limit|gap|lead|zone|jack|cable|film|needle|nozzle|hole|rope|ladder|ceiling)(?:s|es)?"
    r"|batter(?:y|ies)|bab(?:y|ies))\b"
)
_ARTICLE = re.compile(r"(?:(?<!\w)an?|(?:^|[.!?:\"(]\s?)An?)\s$")
_AMOUNT_OF_PRIME = r"(?:(?<![\w.,])|(?<=[\"']x))(?P<amount>(?:\d+[ -])?\d+/\d+|\d(?:[\d,]*\d)?(?:\.\d+)?)"
_PRIME = re.compile(
    rf"{_AMOUNT_OF_PRIME}(?P<sign>[\"'])(?!(?!x\d)[\w'])(?:(?P<until>-)|(?P<by>\s?[x×]\s?|\sby\s))?(?(until)(?=\d))(?(by)(?=\d))"
    r"|\""
)
_FEET_END = re.compile(r"\.?\s*$|\s(?:and|or|to)\s\d+'(?!\w)")
_OPENED = re.compile(r"(?<![\w'])'(?=\w)(?!\d\ds\b)")
_MEASURED = re.compile(r"\s(?:wide|tall|long|deep|high|thick|by)\b|-[a-z]")


def describes(match: re.Match[str]) -> bool:
    """Whether the amount is an adjective: "a $20 bill", "the 100 m race"."""
    before = match.string[max(0, match.start() - 6) : match.start()]
    return bool(_ARTICLE.search(before) or _NOUN.match(match.string, match.end()))


def one_of(symbol: str) -> str:
    """The unit after "per": "kg" -> "kilogram". Other words stay."""
    return UNITS.get(symbol, symbol)


def expand(text: str) -> str:
    """Write out the units; numbers stay."""
    text = _SPACED_RANGE.sub(_spaced_range, text)
    text = _AREA.sub(lambda m: _power(m[2]) + _plural(UNITS[m[1]]), text)
    text = _HEIGHT.sub(_height, text)
    text = _FIGURES.sub(_figures, _DURATION.sub(_duration, text))
    text = _CUP.sub(_cup, _AMPS.sub(_amps, text))
    return _MEASURE.sub(_measure, _primes(text))


def expand_alone(text: str) -> str:
    """Units without a number: "five dollars per kg" -> "five dollars per kilogram", "in km/h" -> "in kilometers per hour"."""
    text = _PER.sub(lambda m: ("square " if m[1] else "") + UNITS[m[2]], text)
    text = _AFTER_WORD.sub(_after_word, text)
    return _ALONE_UNIT.sub(_alone, text)


def _after_word(match: re.Match[str]) -> str:
    """ "a ten-ft. pole" -> "a ten-foot pole"."""
    count, gap, unit = match.groups()
    return count + gap + (UNITS[unit] if gap == "-" or count.lower() == "one" else _plural(UNITS[unit]))


def _alone(match: re.Match[str]) -> str:
    unit, per, exponent, lone = match.groups()
    if lone:
        return _plural(UNITS[lone])
    power = _power(exponent)
    return f"{_plural(UNITS[unit])} per " + (
        f"{UNITS[per]} {power.strip()}d" if per == "s" and power else f"{power}{UNITS[per]}"
    )


def _amps(match: re.Match[str]) -> str:
    """ "a 5A fuse", but not "room 5A", "Pixel 6A" and "5A or 5B"."""
    before = match["before"] or ""
    is_name = before[:1].isupper() and match.start()
    if is_name or before.lower() in _LABELS or _LETTERED_FIGURE.search(match.string):
        return match[0]
    return match[0][:-1].rstrip() + (" amp" if is_single(match) else " amps")


def _cup(match: re.Match[str]) -> str:
    """Cups and tablespoons of recipes: "1/2 c. milk"."""
    name = {"c": "cup", "T": "tablespoon"}[match["unit"]]
    return f"{_mixed(match['amount'])} {name if is_single(match) else _plural(name)}"


def _spaced_range(match: re.Match[str]) -> str:
    low, high = (float(amount.replace(",", "").rstrip(".") if amount.count(".") < 2 else "nan") for amount in match.group(1, 3))
    return f"{match[1]}{match[2] or ''}-" if low < high else match[0]


def _height(match: re.Match[str]) -> str:
    feet, inches = match.groups()
    if describes(match):  # a six foot two man
        return f"{cardinal(int(feet))} foot {cardinal(int(inches))}"
    return (
        f"{cardinal(int(feet))} {'foot' if feet == '1' else 'feet'} {cardinal(int(inches))} inch{'' if inches == '1' else 'es'}"
    )


def _primes(text: str) -> str:
    """Feet and inches, unless the sign is a quotation mark."""
    is_quoted, size_end = False, -1

    def is_last(match: re.Match[str]) -> bool:
        """5' at the end, or before another, where no quotation has begun."""
        return bool(_FEET_END.match(text, match.end())) and not _OPENED.search(text, 0, match.start())

    def word(match: re.Match[str]) -> str:
        nonlocal is_quoted, size_end
        sign = match["sign"]
        is_joined = bool(sign and (match["by"] or match["until"])) or match.start() == size_end  # 8' x 10', 6'-8'
        size_end = match.end() if is_joined else -1
        is_measure = sign and (is_joined or describes(match) or _MEASURED.match(match.string, match.end()) or is_last(match))
        if not is_measure and not (sign == '"' and not is_quoted):
            is_quoted ^= sign != "'"
            return match[0]
        name = "foot" if sign == "'" else "inch"
        joint = " by " if match["by"] else " to " if match["until"] else ""
        return f"{_mixed(match['amount'])} {name if is_single(match) else _plural(name)}{joint}"

    return _PRIME.sub(word, text)


def _mixed(amount: str) -> str:
    """ "1-1/2" -> "1 1/2"."""
    return amount.replace("-", " ")


def is_single(match: re.Match[str]) -> bool:
    """Whether the unit after an amount is singular."""
    amount = match["amount"]
    return amount == "1" or bool(re.fullmatch(r"\d+/\d+", amount)) or describes(match)


def _duration(match: re.Match[str]) -> str:
    parts = [(amount, word) for amount, word in zip(match.groups(), _TIME_WORDS, strict=True) if amount]
    if len(parts) < 2:
        return match[0]
    is_one = describes(match)
    return " ".join(f"{amount} {word if amount == '1' or is_one else _plural(word)}" for amount, word in parts)


def _figures(match: re.Match[str]) -> str:
    """ "10s and 12s" -> "tens and twelves", but seconds where a time is meant."""
    is_time = _SECONDS_AFTER.search(match.string, max(0, match.start() - 20), match.start())
    return re.sub(r"(\d+)s", lambda m: f"{m[1]} seconds" if is_time else plural(m[1]), match[0])


def _is_plural_figure(match: re.Match[str]) -> bool:
    """The 1980s, 747s and two 45s, but not 15s."""
    amount, before = match["amount"], match.string[max(0, match.start() - 10) : match.start()]
    if "." in amount or _SECONDS_AFTER.search(before) or _SECONDS_BEFORE.match(match.string, match.end()):
        return False
    return (amount.endswith("0") and amount != "10") or len(amount) > 2 or bool(_PLURAL_AFTER.search(before))


def _measure(match: re.Match[str]) -> str:
    part = match.groupdict()
    if part["unit"] == "s" and not part["gap"] and _is_plural_figure(match):
        return match[0]
    name = UNITS[part["unit"]] if part["unit"] else "inch"
    power = {"s": "square ", "c": "cubic "}.get((part["power"] or " ")[0], "") or _power(part["exponent"])
    words = power + (name if part["gap"] == "-" or is_single(match) else _plural(name))
    if part["per"]:
        power, per = _power(part["per_exponent"]), UNITS[part["per"]]
        words += f" per {per} {power.strip()}d" if power and per == "second" else f" per {power}{per}"
    return f"{_mixed(part['amount'])}{'-' if part['gap'] == '-' else ' '}{words}" + (" to " if part["until"] else "")


def _power(exponent: str | None) -> str:
    return {"2": "square ", "3": "cubic "}[exponent[-1]] if exponent else ""


def _plural(name: str) -> str:
    """ "mile per hour" -> "miles per hour", "degree celsius" -> "degrees celsius"."""
    first, *rest = name.split()
    if first not in _SAME_PLURAL:
        first = {"foot": "feet", "inch": "inches"}.get(first, first + "s")
    return " ".join([first, *rest])
