"""How text is read: against the published ids, and rule by rule."""

import random
import shutil

import numpy as np
import pytest

from synthesizer.inference import Synthesizer
from synthesizer.preprocess import preprocess_audio
from synthesizer.text import (
    CLEANERS,
    END,
    PAD,
    PHONES,
    SYMBOL_SETS,
    SYMBOLS,
    clean,
    ids_to_text,
    read,
    resolve_symbols,
    shown,
    spoken_length,
    text_to_ids,
)
from synthesizer.text.word_times import WordTimes, symbol_ends
from tests.synthesizer.test_synthesizer_train import ROOT, UNSEEN, run, write_data
from utils.corpora import find_speakers, list_utterances
from utils.data.paths import SynthesizerData
from utils.data.rows import read_rows, write_rows
from utils.errors import UserError
from utils.models import checkpoint

READ_AS = {
    # cardinals
    "0 and 7 and 42": "zero and seven and forty-two",
    "12345": "twelve thousand, three hundred forty-five",
    "100,000,000": "one hundred million",
    "until1,234 people": "until one thousand, two hundred thirty-four people",
    "1,234 people": "one thousand, two hundred thirty-four people",
    "1,200 dollars": "twelve hundred dollars",
    "1 234 567 and 1,234.5": "one million, two hundred thirty-four thousand, five hundred sixty-seven and "
    "one thousand, two hundred thirty-four point five",
    "123,000,000,000,000,000": "one hundred twenty-three quadrillion",
    "007": "zero zero seven",
    "1234567890123456": "one two three four five six seven eight nine zero one two three four five six",
    "-5 degrees, −3": "minus five degrees, minus three",
    "3.14 and .5 and 1.2.3": "three point one four and point five and one point two point three",
    "١٢ and １２": "twelve and twelve",
    # ranges, and figures in groups
    "10-12": "ten to twelve",
    "1914–1918, 1914 – 18": "nineteen fourteen to nineteen eighteen, nineteen fourteen to eighteen",
    "10,000-20,000; 10-20%": "ten thousand to twenty thousand; ten to twenty percent",
    "a 10-year-old": "a ten-year-old",
    "555-1234": "five five five, one two three four",
    "(555) 123-4567": "five five five, one two three, four five six seven",
    "+49 30 1234567": "plus four nine, three zero, one two three four five six seven",
    "978-3-16": "nine seven eight, three, one six",
    # ordinals
    "1st 2ND 3rd 21st 112th 1ˢᵗ": "first second third twenty-first one hundred twelfth first",
    "the 1,000th": "the one thousandth",
    # years and decades
    "1999": "nineteen ninety-nine",
    "1905 and 1066": "nineteen oh five and ten sixty-six",
    "1900": "nineteen hundred",
    "2000, 2007, 2010": "two thousand, two thousand seven, twenty ten",
    "1000, 3000": "one thousand, three thousand",
    "1001 nights": "one thousand one nights",
    "2010-2015, 2001-05": "twenty ten to twenty fifteen, two thousand one to oh five",
    "the 1990s, the '80s, the 1900’s, ’99": "the nineteen nineties, the eighties, the nineteen hundreds, ninety-nine",
    # money
    "$1": "one dollar",
    "$3.50": "three dollars, fifty cents",
    "$0.01": "one cent",
    "$1,234.56": "one thousand, two hundred thirty-four dollars, fifty-six cents",
    "$3.5 million": "three point five million dollars",
    "£1,200": "one thousand, two hundred pounds",
    "£1.01": "one pound, one penny",
    "£2.50": "two pounds, fifty pence",
    "€20, 20 €, 20 EUR": "twenty euros, twenty euros, twenty euros",
    "€5m, $1.2 billion, £3k, $2bn": "five million euros, one point two billion dollars, three thousand pounds, "
    "two billion dollars",
    "3,50 €, -$5, US$7": "three euros, fifty cents, minus five dollars, seven u s dollars",
    "50p, 1p, 99c, 5¢": "fifty pence, one penny, ninety-nine cents, five cents",
    "£5-10, $5-$10 million": "five to ten pounds, five to ten million dollars",
    "$5/kg, €2/month": "five dollars per kilogram, two euros per month",
    "¥500": "five hundred yen",
    # times and dates
    "7:30, 7:05 pm, 12:00, 19:45": "seven thirty, seven oh five p m, twelve o'clock, nineteen forty-five",
    "At 7 a.m. or 7PM, 19:00": "at seven a m or seven p m, nineteen hundred",
    "until 7:30 p.m.": "until seven thirty p m.",
    "9:00-17:30, 9am-5pm": "nine o'clock to seventeen thirty, nine a m to five p m",
    "16:9": "sixteen to nine",
    "4 July 1776": "the fourth of july seventeen seventy-six",
    "July 4th, July 4, 1776": "july fourth, july fourth, seventeen seventy-six",
    "on the 5th of May 2020": "on the fifth of may twenty twenty",
    "Jan. 5, Sept 2020": "january fifth, september twenty twenty",
    "3/4/2021": "march fourth, twenty twenty-one",
    "31/12/1999": "december thirty-first, nineteen ninety-nine",
    "2021-04-03": "april third, twenty twenty-one",
    "3.4.2021": "april third, twenty twenty-one",
    "99/99/2021": "ninety-nine slash ninety-nine slash twenty twenty-one",
    # percentages and fractions
    "50%, 3.5 %.": "fifty percent, three point five percent.",
    "1/2, 3/4, ½, 2 1/2, 2½, 1 1/8": "one half, three quarters, one half, two and a half, two and a half, one and an eighth",
    "2/3 and 5/16 and 120/80": "two thirds and five sixteenths and one hundred twenty over eighty",
    "24/7": "twenty-four seven",
    # units
    "1 km, 5 km, 10kg, 5-km": "one kilometer, five kilometers, ten kilograms, five-kilometer",
    "3 m/s, 9.81 m/s², 80 km/h": "three meters per second, nine point eight one meters per second squared, "
    "eighty kilometers per hour",
    "20 °C, -5°F, 45°": "twenty degrees celsius, minus five degrees fahrenheit, forty-five degrees",
    "6 ft, 10 lb, 5 lbs. of": "six feet, ten pounds, five pounds of",
    "5'10\", 1/2 mi": "five feet ten inches, one half mile",
    "100m², 3 sq. ft, 5 GHz": "one hundred square meters, three square feet, five gigahertz",
    "10 min. It rang": "ten minutes. it rang",
    # abbreviations and initials
    "Mr. and Mrs. Smith": "mister and missus smith",
    "Mr Poe, Dr Lee": "mister poe, doctor lee",
    "Dr. Jones of St. Ives": "doctor jones of saint ives",
    "on Main St. and Mill Dr.": "on main street and mill drive.",
    "Capt. Lee, Sgt. Poe, Lt. Gen. Ray Jr.": "captain lee, sergeant poe, lieutenant general ray junior.",
    "cats vs. dogs, e.g. mine, i.e. two, etc.": "cats versus dogs, for example mine, that is two, et cetera.",
    "No. 5 and no.6. No. I said": "number five and number six. no. i said",
    "approx. 10, pp. 5-7, Vol. 2": "approximately ten, pages five to seven, volume two",
    "a misfit. The first. Most.": "a misfit. the first. most.",
    "J. R. R. Tolkien, George W. Bush": "j r r tolkien, george w bush",
    "Plan B. Then I. It is I. Then": "plan b. then i. it is i. then",
    "the U.S.A. won in the U.S.A.": "the u s a won in the u s a.",
    # capitals
    "BBC and the USA's CDs, the UN": "b b c and the u s a's c d's, the u n",
    "NASA and UNESCO": "nasa and unesco",
    "It IS not. STOP! DON'T MIX this CIVIL law": "it is not. stop! don't mix this civil law",
    "R&D at AT&T": "r and d at a t and t",
    "an MP3, H2O, COVID-19, 3D": "an m p three, h two o, covid-nineteen, three d",
    "AND IT WAS SO HE SAID TO US": "and it was so he said to us",
    # roman numerals
    "Henry VIII, Elizabeth II's, King George I": "henry the eighth, elizabeth the second's, king george the first",
    "When Henry I told you of left": "when henry i told you of left",
    "Chapter IV, Act I, Part V of": "chapter four, act one, part five of",
    "World War II, Rocky IV, XIX century": "world war two, rocky four, nineteenth century",
    "MCMXCIV. I am in my part I know": "nineteen ninety-four. i am in my part i know",
    "Henry V. Smith": "henry v smith",
    # signs
    "50% of R&D": "fifty percent of r and d",
    "and/or [sic], he/she": "and or (sic), he or she",
    "#5 + #fun = 6*7 @ 3°": "number five plus hashtag fun equals six times seven at three degrees",
    "5-3=2, 5 × 3, 3x4, 2^10, x²": "five minus three equals two, five times three, three by four, two to the power of ten, "
    "x squared",
    "§5, ~5, C#, a -> b, 1 < 2, ©": "section five, about five, c sharp, a to b, one less than two, copyright",
    # addresses
    "See https://www.example.com/news, now.": "see w w w dot example dot com slash news, now.",
    "jo_e@uni-bonn.de.": "jo underscore e at uni dash bonn dot d e.",
    "bbc.co.uk and @joe": "b b c dot c o dot u k and at joe",
    # scripts, punctuation and white space
    "Zoë’s “café” — naïve…": 'zoe\'s "cafe" -- naive...',
    "Привет": "privet",
    "(a) - \"b\"; 'c': d! e? f, g.": "(a) - \"b\"; 'c': d! e? f, g.",
    "  a\tb\n\nc \u200b d": "a b c d",
    # titles and abbreviations: with and without full stop, space or capitals
    "mr smith, Mr.Smith and Dr.Lee of St.Ives": "mister smith, mister smith and doctor lee of saint ives",
    "prof. poe, the Dr. left": "professor poe, the doctor left",
    "the hon member, the Hon John Roe, the Rt Hon Lee": "the honorable member, the honorable john roe, the right honorable lee",
    "Rep Smith and rep. smith of it": "representative smith and representative smith of it",
    "Do one rep. Then 10 reps. Thanks, hon.": "do one rep. then ten reps. thanks, hon.",
    "ACME CO. of San Jose, CA.": "acme company of san jose, california.",
    "EST. 1920 on MT. Everest, CA. 1900": "established nineteen twenty on mount everest, circa nineteen hundred",
    "at 5 p.m. EST. He": "at five p m e s t. he",
    "in Denver, CO. He; Springfield, IL, is": "in denver, colorado. he; springfield, illinois, is",
    "CO kills. Well, OK. Poe, MD, has an ID": "c o kills. well, okay. poe, m d, has an i d",
    "Boston, Mass., in Calif. and at Sunday Mass.": "boston, massachusetts, in california and at sunday mass.",
    "MEET IN, OR NEAR, SAN JOSE, CA.": "meet in, or near, san jose, california.",
    "12 Elm Ave NW, 5th Ave, Main St, Sunset Blvd": "twelve elm avenue northwest, fifth avenue, main street, sunset boulevard",
    "`Main St.`, Sing Ave Maria, NW of St Ives, iPhone SE": "'main street', sing ave maria, northwest of saint ives, "
    "i phone s e",
    "salt, &c., and R&D, A&E, &c.": "salt, et cetera, and r and d, a and e, et cetera.",
    "pp 3-7, pp. 3–7, Vol 2, fig 3, no 5": "pages three to seven, pages three to seven, volume two, figure three, no five",
    "6 ft. tall in Ft. Worth": "six feet tall in fort worth",
    # plural figures, and seconds
    "the 1980s, 747s and M16s": "the nineteen eighties, seven forty-sevens and m sixteens",
    "B-52s, size 12s, two 45s, 1066s": "b-fifty-twos, size twelves, two forty-fives, ten sixty-sixes",
    "5s, 15s, 1.5s, it takes 30s": "five seconds, fifteen seconds, one point five seconds, it takes thirty seconds",
    "his 40s, 500s, MP3s": "his forties, five hundreds, m p threes",
    # durations
    "2h 30m 15s, 2h30m": "two hours thirty minutes fifteen seconds, two hours thirty minutes",
    "1h30, 5m 30s, 3d 4h": "one hour thirty minutes, five minutes thirty seconds, three days four hours",
    "1h, 30 m, 5m, 10 m 5 cm": "one hour, thirty meters, five meters, ten meters five centimeters",
    "2h-3h, 1h 1m": "two hours to three hours, one hour one minute",
    # telephone numbers and ZIP codes
    "1-800-FLOWERS, 800-GOT-JUNK": "one, eight hundred, flowers, eight hundred, got, junk",
    "1-800-555-1234, 1-888-555-HELP": "one, eight hundred, five five five, one two three four, one, "
    "eight eight eight, five five five, help",
    "Call 911, dial 999, a 911 call": "call nine one one, dial nine nine nine, a nine one one call",
    "911 people, a Porsche 911": "nine hundred eleven people, a porsche nine eleven",
    "Beverly Hills, CA 90210": "beverly hills, california, nine zero two one zero",
    "NY 10001-1234, ZIP code 02134": "new york one zero zero zero one, one two three four, zip code zero two one three four",
    "90210 men, COME IN 90210 MEN": "ninety thousand, two hundred ten men, come in ninety thousand, two hundred ten men",
    "737-MAX, 747-400": "seven thirty-seven max, seven forty-seven four hundred",
    # magnitudes
    "1.5M people, 3k, 10K": "one point five million people, three thousand, ten thousand",
    "2.5B, 5m users, 3-5k, 3k-5k": "two point five billion, five million users, three to five thousand, "
    "three thousand to five thousand",
    "a 4K TV, a 5k run, flat 2B, Y2K": "a four k t v, a five k run, flat two b, y two k",
    "5 mm, a 401(k), 64kB": "five millimeters, a four oh one k, sixty-four kilobytes",
    # powers
    "10⁻³, 10³, x⁴": "ten to the power of minus three, ten cubed, x to the power of four",
    "6.02 x 10^23": "six point zero two times ten to the power of twenty-three",
    "3×10⁸ m/s": "three times ten to the power of eight meters per second",
    "2^-3, 10^{23}, 5e-3": "two to the power of minus three, ten to the power of twenty-three, "
    "five times ten to the power of minus three",
    "2e-05, m², 3 x 4, H₂O, B2e5": "two times ten to the power of minus five, m squared, three by four, h two o, b two e five",
    # singular before a noun and after an article
    "a $20 bill, two $20 bills, a £10 note": "a twenty dollar bill, two twenty dollar bills, a ten pound note",
    "a $5 million deal, a $3.50 fee": "a five million dollar deal, a three dollar, fifty cent fee",
    "$20 a day, it cost $20 before": "twenty dollars a day, it cost twenty dollars before",
    "a 100m race, the 100 m final, 5 km away": "a one hundred meter race, the one hundred meter final, five kilometers away",
    "a 90° turn, an 8 h flight": "a ninety degree turn, an eight hour flight",
    "a 5' fence, 6' tall, 8' x 10'": "a five foot fence, six feet tall, eight feet by ten feet",
    '27" screens, 12" long, 1/8", 1-1/2" pipe': "twenty-seven inch screens, twelve inches long, one eighth inch, "
    "one and a half inch pipe",
    "He said \"it was 27\" and '5' then.": "he said \"it was twenty-seven\" and 'five' then.",
    # dates
    "12-25-1990, 25-12-1990": "december twenty-fifth, nineteen ninety, december twenty-fifth, nineteen ninety",
    "99-99-2021, 12-25-90": "nine nine, nine nine, two zero two one, one two, two five, nine zero",
    "Mon-Fri, Mon.-Fri., sat-sun": "monday to friday, monday to friday, saturday to sunday",
    "Mon, Wed and Fri, Tues.": "monday, wednesday and friday, tuesday.",
    "Jan.-Mar., Jan–Mar 2020, Jan 5-Mar 3": "january to march, january to march twenty twenty, january fifth to march third",
    "Sun 5 May, Sat. 9am, in Dec. He": "sunday the fifth of may, saturday nine a m, in december. he",
    "The Sun. May I? He Sat down, Jan said, Mar-a-Lago": "the sun. may i? he sat down, jan said, mar-a-lago",
    # roman numerals in lists
    "I, II and III": "one, two and three",
    "Types I and II, Books I-III, (ii)": "types one and two, books one to three, (two)",
    "i, ii, iii; parts IV, V and VI": "one, two, three; parts four, five and six",
    "World War I and II. II. Methods": "world war one and two. two. methods",
    "you and I, I, and he; X and Y; an IV drip": "you and i, i, and he; x and y; an i v drip",
    "Henry VI and I said, a civic mix": "henry the sixth and i said, a civic mix",
    # decimal commas and full stops between thousands
    "3,5 kg, 0,125, 12,50": "three point five kilograms, zero point one two five, twelve point five zero",
    "1.234.567, 1.234,56": "one million, two hundred thirty-four thousand, five hundred sixty-seven, "
    "one thousand, two hundred thirty-four point five six",
    "€1.234,56, €1.234": "one thousand, two hundred thirty-four euros, fifty-six cents, "
    "one thousand, two hundred thirty-four euros",
    "1.234, 1,234, 1,2,3, (0,1)": "one point two three four, one thousand, two hundred thirty-four, one,two,three, (zero,one)",
    "192.168.100.200": "one hundred ninety-two point one six eight point one zero zero point two zero zero",
    # currencies and units
    "C$50, A$5, NZ$1, $50 CAD, CAD 50": "fifty canadian dollars, five australian dollars, one new zealand dollar, "
    "fifty canadian dollars, fifty canadian dollars",
    "R$5, CHF 50, a$ap": "five reais, fifty swiss francs, a dollar ap",
    "1 tsp, 2 tbsp, 1/2 tsp. of, 1-1/2 tsp": "one teaspoon, two tablespoons, one half teaspoon of, one and a half teaspoons",
    "50 Nm, 3 ft-lb, 5–10 km, 2-3 tbsp": "fifty newton-meters, three foot-pounds, five to ten kilometers, "
    "two to three tablespoons",
    "5kg-10kg, 20°-30°, 5 km-10 km": "five kilograms to ten kilograms, twenty degrees to thirty degrees, "
    "five kilometers to ten kilometers",
    # files
    "node.js, a.tar.gz, foo.md, .NET": "node dot j s, a dot tar dot g z, foo dot m d, dot net",
    "report.pdf, config.yaml and .pdf files": "report dot p d f, config dot yaml and dot p d f files",
    "The end.It was. v1.2.3": "the end.it was. v one point two point three",
    # ranges of prices, hours and ordinals
    "$1.2bn-$1.5bn, $5m-$6m, $-5": "one point two billion to one point five billion dollars, "
    "five million to six million dollars, minus five dollars",
    "7-9pm, 7–9:30 p.m. 1st–3rd": "seven to nine p m, seven to nine thirty p m first to third",
    "5'9, '5' and 5'11 tall, a 3.5mm jack": "five feet nine inches, 'five' and five feet eleven inches tall, "
    "a three point five millimeter jack",
    "pH 7, 5 mg/dL, H2SO4, NO2 and MP3, B12, NO1": "p h seven, five milligrams per deciliter, h two s o four, n o two and "
    "m p three, b twelve, no one",
    # footnotes
    "in 1998.[1] It fell,[2][3] as told¹ by 2010,³ in 1945². Then": "in nineteen ninety-eight. it fell, as told by twenty "
    "ten, in nineteen forty-five. then",
    "“End.”⁴ Smith² and 1066,[a] 5² and 10³, sin² x, R², km², 2⁵, a[i], [He] said [1]": '"end." smith and ten sixty-six, '
    "five squared and ten cubed, sin squared x, r squared, square kilometers, two to the power of five, a(i), (he) said "
    "(one)",
    "the word† and H₂O, 2048² = 4, [sic]": "the word and h two o, twenty forty-eight squared equals four, (sic)",
    # dot files, paths and addresses
    "the .env, .gitignore and ~/.ssh/config files": "the dot env, dot gitignore and tilde slash dot s s h slash config files",
    "/etc/passwd and C:\\Users, and/or yes/no, a / b, wait ...what, a .5 chance": "slash etc slash passwd and c colon "
    "backslash users, and or yes no, a slash b, wait ...what, a point five chance",
    "setup.cfg, a.jpeg, x.org:8080, a.html?q=1, is it foo.com? Yes": "setup dot c f g, a dot jpeg, x dot org colon eight "
    "thousand eighty, a dot h t m l question mark q equals one, is it foo dot com? yes",
    # ranges with spaces
    "5 kg – 10 kg, 5 - 10 km, 10 °C - 20 °C, 5% – 10%": "five kilograms to ten kilograms, five to ten kilometers, ten "
    "degrees celsius to twenty degrees celsius, five percent to ten percent",
    "10 km - 5 km, lost 3 - 1, 5 km - 10 more": "ten kilometers - five kilometers, lost three - one, five kilometers - "
    "ten more",
    "9 am - 5 pm, 10:30 – 11:45, 9 am - or 10": "nine a m to five p m, ten thirty to eleven forty-five, nine a m - or ten",
    "1990s – 2000s, '80s-'90s, 3–4 May, 4-Jul-2020": "nineteen nineties to two thousands, eighties to nineties, the third "
    "to fourth of may, the fourth of july twenty twenty",
    "2020-01-31T10:00": "january thirty-first, twenty twenty, ten o'clock",
    # numbers of items, and more numerals
    "(i) first, (ii) second; clause (i), (v) and section 3(a)(i)": "(one) first, (two) second; clause (one), (five) and "
    "section three(a)(one)",
    "i) one ii) two": "one) one two) two",
    "i. first ii. second": "one. first two. second",
    "(g), (h) and (i); f(x), f(i); you and i; (you and i) went. It is i.": "(g), (h) and (i); f(x), f(i); you and i; (you "
    "and i) went. it is i.",
    "I. Introduction": "one. introduction",
    "I. Newton, V. Smith, Chapter I begins, the part I like": "i newton, v smith, chapter i begins, the part i like",
    "Chapters I-V, Type I errors, the IVth, a V-neck": "chapters one to five, type one errors, the fourth, a v-neck",
    "Charles I and II, Louis XIV, XV and XVI, Paul and I": "charles the first and second, louis the fourteenth, fifteenth "
    "and sixteenth, paul and i",
    # more short forms
    "rep. Jane Roe, one rep. Then Bob, eq. (4), asst. prof. Lee, Adm. Poe": "representative jane roe, one rep. then bob, "
    "equation (four), assistant professor lee, admiral poe",
    "DR. LEE met MR. POE of Ft. Lauderdale, FLA. in Portland, ORE.": "doctor lee met mister poe of fort lauderdale, "
    "florida in portland, oregon.",
    "12 S. Main St., W. 42nd St., N. America, N. Lee, Vitamin E 5": "twelve south main street, west forty-second street, "
    "north america, n lee, vitamin e five",
    "a 10s timer, the 10s, by 10s, 10s and 20s, 555-HELP": "a ten second timer, the tens, by tens, tens and twenties, "
    "five five five, help",
    # initials, and letters that are none
    "I met N. Lee, by E. Nesbit and S. Kim": "i met n lee, by e nesbit and s kim",
    "Malcolm X. He got an A. Poe left. A. The first": "malcolm x. he got an a. poe left. a. the first",
    # degrees
    "an M.Sc. in law, a B.Sc., LL.B., D.Phil. and Ed.D. BSc, MPhil, PhDs": "an m s c in law, a b s c, l l b, d phil and "
    "ed d b s c, m phil, p h d's",
    "She has an M.Sc.": "she has an m s c.",
    # capitals inside a word
    "IPv6, IPv4, mRNA, cDNAs, iOS 17, macOS, MySQL": "i p v six, i p v four, m r n a, c d n a's, i o s seventeen, mac o s, "
    "my s q l",
    "an iPhone, eBay, McDONALD, DeVito, YouTube, WiFi": "an i phone, e bay, mcdonald, devito, youtube, wi-fi",
    "A/C, I/O over TCP/IP or yes/no": "a c, i o over t c p i p or yes no",
    # signs after the figures of a range
    "10$-20$, 10€ – 20€, 5-10 EUR, 10k€-20k€": "ten to twenty dollars, ten to twenty euros, five to ten euros, ten thousand "
    "to twenty thousand euros",
    "50p-75p, 5¢-10¢, MX$100, 100 SEK": "fifty to seventy-five pence, five to ten cents, one hundred mexican dollars, one "
    "hundred swedish kronor",
    # amps, and figures with a letter
    "a 5A fuse, 2.5 A and 1 A, 12V 5A": "a five amp fuse, two point five amps and one amp, twelve volts five amps",
    "room 5A, 5A Elm Street, Pixel 6A, seat 23A": "room five a, five a elm street, pixel six a, seat twenty-three a",
    "5A or 5B, F-16A, 5 A grades": "five a or five b, f-sixteen a, five a grades",
    # recipes, and other units
    "1 c. milk, 1/2 c. sugar, 2 T. flour, 1 Tbsp, 12 fl oz": "one cup milk, one half cup sugar, two tablespoons flour, one "
    "tablespoon, twelve fluid-ounces",
    "1 yr. 2 mos. old, 2w 3d, a 1h30m film, 5000mAh": "one year two months old, two weeks three days, a one hour thirty "
    "minute film, five thousand milliamp-hours",
    "$5 per kg, 3 per min, 8 oz.-10 oz. of": "five dollars per kilogram, three per minute, eight ounces to ten ounces of",
    "1 × 10−5, 3 x 10-8": "one times ten to the power of minus five, three times ten to the power of minus eight",
    "Thank you, Miss. You are kind. Yes, Miss. Come here, Pa. Hello, Wash. Fa, so, La.": "thank you, miss. you are kind. yes, "
    "miss. come here, pa. hello, wash. fa, so, la.",
    "Jackson, Miss. is hot, St. Louis, Mo., D.C. 20500, 44 B.C. 3 men": "jackson, mississippi is hot, saint louis, missouri, d "
    "c two zero five zero zero, forty-four b c three men",
    "The U.S.Navy, T.S.Eliot, Dr.J.Smith, Ms.de Vries, Jan.5. Plan B.Then we left": "the u s navy, t s eliot, doctor j smith, "
    "miz de vries, january fifth. plan b. then we left",
    "photo.JPG, SETUP.EXE, main.c, A.java, C++17": "photo dot j p g, setup dot e x e, main dot c, a dot java, c plus plus "
    "seventeen",
    "He wears 10s, size 12s, five 9s, iPhone 15s. A 30s ad, the 5s rule, 30s of sound, a 60s song. Only 5s left": "he wears "
    "tens, size twelves, five nines, i phone fifteens. a thirty second ad, the five second rule, thirty seconds of sound, "
    "a sixties song. only five seconds left",
    # states at the end of a clause, and directions
    "Portland, OR, Gary, IN; Boston, MA, Jane Poe, MD": "portland, oregon, gary, indiana; boston, massachusetts, jane poe, m d",
    "Elm St. SE, Main St. N.W., the NE corner, Rte. 66": "elm street southeast, main street northwest, the northeast corner, "
    "route sixty-six",
    "Call 311 or 911. Dial 911, 112 or 999!": "call three one one or nine one one. dial nine one one, one one two or nine "
    "nine nine!",
    "World War I began, WWI, WWII, pp. ix-xii, p. iv": "world war one began, world war one, world war two, pages nine to "
    "twelve, page four",
    # plurals of titles, and other titles
    "hon. members, Reps. Roe and Poe, Gens. Grant and Lee, ten reps. Thanks": "honorable members, representatives roe and "
    "poe, generals grant and lee, ten reps. thanks",
    "Msgr. Ryan, Fr. Brown, Pres. Lincoln, Sec. of State": "monsignor ryan, father brown, president lincoln, secretary of "
    "state",
    # more ranges
    "$1.2M-$1.5M, Q1-Q3, ll. 3-5, A4-B5": "one point two million to one point five million dollars, q one to q three, lines "
    "three to five, a four-b five",
    "10-12 in., on 12/25, on 3/4 of it": "ten to twelve inches, on december twenty-fifth, on three quarters of it",
    # more that can be nothing else
    "1.299 €, 10.000 euros, 1 234,56": "one thousand, two hundred ninety-nine euros, ten thousand euros, one thousand, two "
    "hundred thirty-four point five six",
    "Type I and Type II, the type I like, Phase I to III": "type one and type two, the type i like, phase one to three",
    "N Main St, on N. Lee St., E. Coast": "north main street, on north lee street, east coast",
    "a £3.20 fare, a 12' x 15' room, 180° views, 3x faster, 30 mpg": "a three pound, twenty pence fare, a twelve foot by "
    "fifteen foot room, one hundred eighty degree views, three times faster, thirty miles per gallon",
    # more amounts
    "3,14159; 1,234,567, Rs. 500, Rs 1, C$1,200.50": "three point one four one five nine; one million, two hundred "
    "thirty-four thousand, five hundred sixty-seven, five hundred rupees, one rupee, one thousand, two hundred canadian "
    "dollars, fifty cents",
    "a 6'2\" man, 5 ft 6 in, 5 ft 6 in the rain, 9 cm³ and m³ of cm³": "a six foot two man, five feet six inches, five "
    "feet six in the rain, nine cubic centimeters and m cubed of cubic centimeters",
    # units beside a hyphen, after a number in words and without a number
    "The 10-ft. pole, a 5-lb. bag, 6-in. nails, a 10-min. walk": "the ten-foot pole, a five-pound bag, six-inch nails, a "
    "ten-minute walk",
    "a ten-ft. pole, Two hrs. later, 10 ft. from Ft. Lee": "a ten-foot pole, two hours later, ten feet from fort lee",
    "in km/h, m/s and mg/dL, mph, kg/m³, 3 m/s": "in kilometers per hour, meters per second and milligrams per deciliter, "
    "miles per hour, kilograms per cubic meter, three meters per second",
    "15 A.M., 15 p.m. or 15 A.": "fifteen a m, fifteen p m or fifteen amps.",
    "It is 13 am I old?": "it is thirteen am i old?",
    "5'": "five feet",
    "The fence is 5' and 6'.": "the fence is five feet and six feet.",
    "at 'the age of 5'.": "at 'the age of five'.",
    "I am 5', he said. The 1990s' end": "i am five', he said. the nineteen nineties' end",
    '8.5" x 11", 8½"x11", 8.5" × 11"': "eight point five inches by eleven inches, eight and a half inches by eleven inches, "
    "eight point five inches by eleven inches",
    # titles without capitals
    "rep. Smith, pres. Lincoln, sen. Warren, gov. Hochul": "representative smith, president lincoln, senator warren, "
    "governor hochul",
    "We met gen. Lee, reps. Roe and Poe, capt Cook and lt Dan": "we met general lee, representatives roe and poe, captain cook "
    "and lieutenant dan",
    "Do 10 reps. Rest. One rep. Rest now. The rep. said": "do ten reps. rest. one rep. rest now. the representative said",
    # 911
    "911": "nine one one",
    "911 is busy. 911 people, 911, 912": "nine one one is busy. nine hundred eleven people, nine hundred eleven, nine hundred "
    "twelve",
    "911, what is your emergency?": "nine one one, what is your emergency?",
    # plural figures in lists, and models
    "10s and 12s, sizes 8s, 10s and 12s": "tens and twelves, sizes eights, tens and twelves",
    "Pauses of 5s, 10s and 30s, it lasted between 5s and 10s": "pauses of five seconds, ten seconds and thirty seconds, it "
    "lasted between five seconds and ten seconds",
    "Two 737-800s, a 737-800, the 787-9s and pages 737-800, 747-8": "two seven thirty-seven eight hundreds, a seven "
    "thirty-seven eight hundred, the seven eighty-seven nines and pages seven hundred thirty-seven to eight hundred, seven "
    "hundred forty-seven to eight",
    "AK-47": "a k-forty-seven",
    "An AK-47, TOP-10, F/A-18": "an a k-forty-seven, top-ten, f a-eighteen",
    "IN JAN-5": "in jan-five",
    # words with a slash
    "AC/DC": "a c d c",
    "TCP/IP": "t c p i p",
    "HE/SHE AND/OR 24/7": "he or she and or twenty-four seven",
    "he/she/they, his/her, s/he, (s)he, input/output": "he or she or they, his or her, he or she, he or she, input output",
    "a/b/c, src/main/java, lib/form-data, a / b": "a slash b slash c, src slash main slash java, "
    "lib slash form-data, a slash b",
    # states and directions
    "LA. is hot": "louisiana is hot",
    "PA. roads are bad in CA. towns, I left LA. He": "pennsylvania roads are bad in california towns, i left l a. he",
    "San Jose, CAL. is hot, Napa, Cal. is. Well, Cal. How": "san jose, california is hot, napa, california is. well, cal. how",
    "Boston, Mass, Seattle, Wash. is; Tulsa, Okla": "boston, massachusetts, seattle, washington is; tulsa, oklahoma",
    "PHILADELPHIA, PENN.": "philadelphia, pennsylvania.",
    "In Boston, Wash. Hello, Miss": "in boston, washington. hello, miss",
    "12 OAK LN.": "twelve oak lane.",
    "SE Asia, NE Brazil, SW London, in W Africa": "southeast asia, northeast brazil, southwest london, in west africa",
    "iPhone SE, NE is neon, vitamin E Canada": "i phone s e, n e is neon, vitamin e canada",
    # etc. in a text of plain words
    "and so on, etc.": "and so on, et cetera.",
    "cats, etc": "cats, et cetera",
    "(cats, etc.) etc., etc… “etc.” Etc.": '(cats, et cetera) et cetera, et cetera... "et cetera" et cetera.',
    "smith and co.": "smith and company.",
}


@pytest.mark.parametrize("text", READ_AS)
def test_english_is_written_out(text):
    assert clean(text) == READ_AS[text]


def test_ids_are_the_published_ones(expected):
    for i in range(3):
        assert text_to_ids(str(expected[f"text_{i}"])) == expected[f"ids_{i}"].tolist()


def test_ids_spell_the_cleaned_text_and_end_once():
    text = 'He said: "no" ~ never_ (at all) ☃!'
    assert ids_to_text(text_to_ids(text)) == 'he said: "no" never (at all) !' + END
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 66 and SYMBOLS.startswith(PAD + END)


def test_characters_that_cannot_be_read_are_reported_and_separate_words():
    assert read("a|b ☃ c|d")[:2] == ("a b c d", (("|", "a|b ☃ c|d"), ("☃", "a|b ☃ c|d")))
    assert read("A naïve man in a cafe", cleaner="basic")[:2] == ("a nave man in a cafe", (("ï", "A naïve man in a…"),))
    assert read("The sun, the moon and 😀 and the stars").unread == (("😀", "…he moon and 😀 and the sta…"),)
    assert read("plain, and £5 — “so”").unread == ()


def test_any_mixture_is_read_as_symbols_without_digits():
    pieces = [*" ".join(READ_AS).split(), *"!@#$%^&*()_+-=[]{}|;:'\",.<>/?~`£€½²°☃é1234567890", "\u202f", "\u0301", "ﬀ"]
    draw = random.Random(0)
    for _ in range(1500):
        text = "a " + "".join(draw.choice(pieces) + draw.choice(("", "", " ")) for _ in range(draw.randint(1, 10)))
        spoken, unread, _ = read(text)
        assert set(spoken) <= set(SYMBOLS) - {PAD, END} and not any(c.isdigit() for c in spoken), text
        assert all(each.character in text and each.character in each.around for each in unread), text


# ---- other symbols and cleaners


def test_typography_is_common_to_all_cleaners():
    text = "“Où’s” – a… ﬁn — «x» 1 – 2\u200b\u00ad"
    assert clean(text, "basic") == '"où\'s" - a... fin -- "x" 1-2'
    assert clean(text, "transliteration") == '"ou\'s" - a... fin -- "x" 1-2'
    assert read("“a” … b", SYMBOLS + "“…", "basic").text == '“a" … b'  # a model's own symbols stay


def test_symbols_and_cleaner_are_settings(tmp_path):
    symbols = PAD + END + "абв "
    assert ids_to_text(text_to_ids("АБ  В", symbols, "basic"), symbols) == "аб в" + END
    assert clean("Ça va: 12", "transliteration") == "ca va: 12"
    assert set(CLEANERS) == {"english", "transliteration", "basic"}
    with pytest.raises(UserError, match="french"):
        text_to_ids("a", cleaner="french")
    (tmp_path / "letters.txt").write_text("абв\n.,\n", encoding="utf-8")
    assert resolve_symbols(str(tmp_path / "letters.txt")) == PAD + END + " абв.,"
    assert resolve_symbols("+äa") == SYMBOLS + "ä" and resolve_symbols(symbols) == symbols
    assert clean("U\u0308ber", "basic") == "über"  # one character, as in the set
    for wrong in ("engish", str(tmp_path)):
        with pytest.raises(UserError, match="is none of english, arpabet"):
            resolve_symbols(wrong)


def test_sounds_in_braces_need_their_symbols():
    arpabet = SYMBOL_SETS["arpabet"]
    ids = text_to_ids("Say {HH AH0 L OW1}, {T UW1} 2.", arpabet)
    text = ids_to_text(ids, arpabet)
    assert len(text) == len(ids) and shown(text) == "say {HH AH0 L OW1}, {T UW1} two." + END
    assert spoken_length(text_to_ids("{T UW1}!", arpabet), arpabet) == 2
    assert len(PHONES) == 24 + 15 * 4 and arpabet.startswith(SYMBOLS)
    assert read("{so HH}").text == "(so h h)"  # not sounds alone
    with pytest.raises(UserError, match="no symbol for the sound HH.*symbols=arpabet"):
        text_to_ids("Say {HH AH0}")


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("german"), ROOT / "samples")
    rows = [row._replace(text="Schöne Grüße, Straße 5!") for row in read_rows(data.manifest)]
    write_rows(data.manifest, rows)
    return data


def test_a_model_with_another_alphabet_trains_resumes_passes_it_on_and_speaks(german, tmp_path):
    first = run(german, tmp_path, 1, f"{UNSEEN},symbols=+äöüß,cleaner=basic")
    assert first["symbols"] == SYMBOLS + "äöüß" and first["model"]["n_symbols"] == 70
    again = run(german, tmp_path, 2, hparams="")
    assert again["symbols"] == first["symbols"] and again["training"]["cleaner"] == "basic" and again["step"] == 2
    path = tmp_path / "r" / "synthesizer.pt"
    new = run(german, tmp_path / "new", 1, "schedule=5:1e-3:4:3", init_from=path)
    assert new["symbols"] == first["symbols"] and new["training"]["cleaner"] == "basic"
    synthesizer = Synthesizer(path, "cpu")
    assert synthesizer.read("Größe 5 ☃")[:2] == (
        "größe",
        (("5", "Größe 5 ☃"), ("☃", "Größe 5 ☃")),
    )  # no digit is among these symbols
    assert synthesizer.synthesize_spectrograms(["Größe"], np.zeros(8), seed=0)[0].shape[0] == 80
    for symbols in ("+é", "english"):
        with pytest.raises(UserError, match="symbols"):
            run(german, tmp_path, 3, f"symbols={symbols}")


def test_a_checkpoint_without_the_setting_symbols_resumes(german, tmp_path):
    old = run(german, tmp_path, 1)
    del old["training"]["symbols"]
    checkpoint.save(tmp_path / "r" / "synthesizer.pt", old)
    assert run(german, tmp_path, 2, hparams="")["symbols"] == SYMBOLS


# ---- word times


def test_words_written_in_another_way_get_their_times():
    words = ("The", "BBC", "paid", "7.5", "of", "1200", "to", "Mr", "Poe")  # as alignments.txt has them
    text = ids_to_text(text_to_ids("The BBC paid 7.5% of £1,200 to Mr. Poe."))
    ends = symbol_ends(text, WordTimes(words, tuple(range(1, 10))), 10.0)
    for word, second in {
        "the": 1,
        "b b c": 2,
        "paid": 3,
        "five percent": 4,
        " of": 5,
        "hundred pounds": 6,
        "mister": 8,
    }.items():
        assert ends[text.index(word) + len(word) - 1] == pytest.approx(second)
    assert (np.diff(ends) >= 0).all()
    other = "something else entirely was said here, in other words~"
    assert symbol_ends(other, WordTimes(words, tuple(range(1, 10))), 10.0) is None


def test_an_aligner_that_writes_out_numbers_gives_times_too(tmp_path, samples):
    speaker = next(s for s in find_speakers(samples, ["LibriSpeech/test-clean"]) if s.folder.name == "90012")
    found = list_utterances(speaker, texts=True, alignments=True).utterances
    (utterance,) = (each for each in found if "MISTER ELTON" in each.text)
    folder = tmp_path / "own" / "anna"
    folder.mkdir(parents=True)
    shutil.copy(utterance.path, folder / "a.flac")
    (folder / "a.txt").write_text(utterance.text.capitalize().replace("mister elton", "Mr. Elton, "))
    (folder / "alignment.txt").write_text(f'a "{",".join(utterance.words)}" "{",".join(map(str, utterance.ends))}"\n')
    preprocess_audio(tmp_path, tmp_path / "out", ["own"], n_processes=1)
    data = SynthesizerData(tmp_path / "out")
    assert "to mister elton, than" in " ".join(row.text for row in read_rows(data.manifest))
    assert "MISTER" in data.alignments.read_text().upper()


# ---- nothing to read


@pytest.mark.parametrize("text", ["", "   ", "☃ ☃", "!?", "~_"])
def test_a_text_with_nothing_to_read_is_refused(text):
    with pytest.raises(UserError, match="nothing to read"):
        text_to_ids(text)
    with pytest.raises(ValueError):
        text_to_ids(text)


@pytest.mark.parametrize("text", ["${}", "Rs{}", "3/{}", "6 {}'5\"", "{}/2", "1,{}", "{} km", "{}th", "{}-7"])
def test_a_number_without_end_is_read_digit_by_digit(text):
    assert "one one one" in clean(text.format("1" * 5000), "english")


@pytest.mark.parametrize("sign", "•†·☃|*")
def test_an_unread_sign_is_named_as_it_was_written(sign):
    (unread,) = read(f"One {sign} two.").unread
    assert unread.character == sign and sign in unread.around
