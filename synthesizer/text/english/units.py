"""Units after a number: "5 km", "3 m/s", "20 °C", "5'10\"", "3 sq. ft"."""

import re

from synthesizer.text.english.numerals import cardinal
from synthesizer.text.english.tables import table

_METRIC = table(
    "m meter, g gram, l liter, L liter, W watt, V volt, Hz hertz, Pa pascal, bit bit, B byte, J joule, Wh watt-hour, "
    "eV electronvolt, Ω ohm, A amp, mol mole, s second"
)
_PREFIXES = table("k kilo, M mega, G giga, T tera, c centi, d deci, m milli, µ micro, n nano, h hecto")
_PREFIXED = (
    "km cm dm mm µm nm kg mg µg ml mL cl dl µl kW MW GW mW kV mV kHz MHz GHz hPa kPa MPa Mbit Gbit kbit kB MB GB TB kJ MJ "
    "kWh MWh GWh keV MeV GeV kΩ MΩ mA mmol ms µs ns"
).split()
_ALONE = ["m", "g", "l", "L", "W", "V", "Hz", "Pa", "J", "Wh", "eV", "Ω", "mol", "s"]
_OTHERS = table(
    "lb pound, lbs pound, oz ounce, ft foot, yd yard, mi mile, mph mile per hour, kph kilometer per hour, h hour, hr hour, "
    "hrs hour, min minute, mins minute, sec second, secs second, yr year, yrs year, ha hectare, gal gallon, pt pint, "
    "qt quart, kbps kilobit per second, Mbps megabit per second, Gbps gigabit per second, KB kilobyte, dB decibel, "
    "rpm revolution per minute, RPM revolution per minute, fps frame per second, dpi dot per inch, "
    "psi pound per square inch, bpm beat per minute, cal calorie, kcal kilocalorie, hp horsepower, px pixel, kn knot, "
    "°C degree celsius, °F degree fahrenheit, °K degree kelvin, ° degree"
)
_SAME_PLURAL = {"hertz", "kilohertz", "megahertz", "gigahertz", "horsepower"}


def _prefixed(symbol: str) -> str:
    """ "km" -> "kilometer"."""
    return _PREFIXES[symbol[0]] + _METRIC[symbol[1:]]


# symbol: name in the singular
UNITS = {s: _METRIC[s] for s in _ALONE} | {s: _prefixed(s) for s in _PREFIXED} | _OTHERS

_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_POWER = r"\^?([23])(?!\d)"
_MEASURE = re.compile(
    r"(?<![\w.,])(?P<amount>(?:\d+ )?\d+/\d+|\d[\d,]*(?:\.\d+)?)(?P<gap>[\s-]?)(?P<power>sq\.?\s|cu\.?\s)?"
    rf"(?:(?P<unit>{_UNIT})(?P<exponent>{_POWER})?|(?P<inch>in)(?=\.\s+[a-z0-9]|\.,|²))"
    rf"(?:\s?/\s?(?P<per>{_UNIT})(?P<per_exponent>{_POWER})?)?(?![\w'°])(?P<stop>\.(?=\s+[a-z0-9]|,))?"
)
_HEIGHT = re.compile(r"(?<![\w.,])(\d+)'\s?(\d+)(?:\"|'')")


def one_of(symbol: str) -> str:
    """The unit after "per": "kg" -> "kilogram". Other words stay."""
    return UNITS.get(symbol, symbol)


def expand(text: str) -> str:
    """Write out the units; numbers stay."""
    return _MEASURE.sub(_measure, _HEIGHT.sub(_height, text))


def _height(match: re.Match[str]) -> str:
    feet, inches = match.groups()
    return (
        f"{cardinal(int(feet))} {'foot' if feet == '1' else 'feet'} {cardinal(int(inches))} inch{'' if inches == '1' else 'es'}"
    )


def _measure(match: re.Match[str]) -> str:
    part = match.groupdict()
    if part["unit"] == "s" and not part["gap"] and part["amount"].endswith("0"):
        return match[0]  # the 1980s
    name = UNITS[part["unit"]] if part["unit"] else "inch"
    is_one = part["amount"] == "1" or re.fullmatch(r"\d+/\d+", part["amount"]) or part["gap"] == "-"
    power = {"s": "square ", "c": "cubic "}.get((part["power"] or " ")[0], "") or _power(part["exponent"])
    words = power + (name if is_one else _plural(name))
    if part["per"]:
        power, per = _power(part["per_exponent"]), UNITS[part["per"]]
        words += f" per {per} {power.strip()}d" if power and per == "second" else f" per {power}{per}"
    return f"{part['amount']}{'-' if part['gap'] == '-' else ' '}{words}"


def _power(exponent: str | None) -> str:
    return {"2": "square ", "3": "cubic "}[exponent[-1]] if exponent else ""


def _plural(name: str) -> str:
    """ "mile per hour" -> "miles per hour", "degree celsius" -> "degrees celsius"."""
    first, *rest = name.split()
    if first not in _SAME_PLURAL:
        first = {"foot": "feet", "inch": "inches"}.get(first, first + "s")
    return " ".join([first, *rest])
