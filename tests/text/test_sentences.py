"""How text of any length falls into pieces to speak."""

import random
import time

import pytest

from synthesizer.text.sentences import Pause, Piece, sentences, split

# Fifty hard cases of English: " | " stands for the space between two sentences, "|" for the missing one.
CASES = [
    # abbreviations and titles
    "Mr. Smith went to Washington. | He stayed there.",
    "Sgt. Pepper met Lt. Col. Brown at Ft. Sumter. | They talked.",
    "Martin Luther King Jr. spoke here. | Sammy Davis Jr. sang.",
    "Bring pens, paper, etc. | Then sit down.",
    "Bring pens, paper, etc. and sit down.",
    "Some animals, e.g. Lions, roar. | Others do not.",
    "The winner, i.e. Bob, is here. | Clap!",
    "See Fig. 3 and p. 12, or pp. 14-16. | Then go on.",
    "Read ch. 4, sec. 2, vol. 1. | Then rest.",
    "No. 5 is alive. | Is it? | No. | It is not.",
    "He lives on Main St. near the park. | She lives on Elm St. | They meet there.",
    "St. Paul and Mt. Everest are names. | So is Ft. Worth.",
    "Apple Inc. is big. | He works at Acme Ltd. | She works at Acme Corp. too.",
    "On Jan. 5 it snowed. | In Feb. it thawed.",
    "It is 20 ft. long and 6 in. wide. | It weighs 5 lbs. | It floats.",
    "Smith et al. showed it. | Jones did not.",
    "Smith v. Jones was decided. | Roe vs. Wade was not.",
    "The band, a.k.a. The Who, played. | We sang.",
    # initials and letters with stops
    "Dr. J. R. R. Tolkien wrote it. | Mrs. Lee read it.",
    "George W. Bush spoke. | John F. Kennedy did too.",
    "J.K. Rowling met J. Smith. | A. Milne did not.",
    "I moved to the U.S. in 1999. | It was cold.",
    "She lives in the U.S. | He lives in the U.K. with his aunt.",
    "The U.S. Government paid.",
    "It opens at 5 p.m. on Monday. | Come early.",
    "It opens at 5 p.m. | We wait until then.",
    "The meeting is at 10 a.m. Monday. | Bring tea.",
    "She has a Ph.D. in physics. | He got his Ph.D. | Then he left.",
    "We need plan B. | Then we go.",
    "So it is I. | Who are you?",
    "The E. coli in the lab died. | We cried.",
    # numbers and addresses
    "It cost approx. 3.14 dollars in v2.0.1. | Then it rose.",
    "We met at 5.30. | It was late.",
    "The answer is 42. | The question is unknown.",
    "He came. | 12 others left.",
    "Install node.js from www.x.org. | Then run it.",
    "Write to bob@mail.example.com. | He answers.",
    "Go to https://example.com/a.b?c=d. | Read it!",
    "1. First thing. | 2. Second thing.",
    # quotations, brackets, marks
    'He said "Stop." | Then he left.',
    'She asked "Why?" and left.',
    '"Wait!" he cried. | "I am coming."',
    "“Is it true?” Anna asked. | “Yes.”",
    "“He said ‘no.’” | She wept.",
    "He was late (as usual!) and sorry. | (She was not.) | They left.",
    "He ran... and ran. | I was... | She left.",
    "What?! | No way!!! | Really.",
    "I like it. | it is good. | really",
    "This is the end.|Next comes more. | It is long.",
    "He works at Yahoo! in California. | She left—why? | Nobody knew.",
]
MORE_CASES = [
    "Wait... I think so.",
    "I was . . . not there. | Then. . . . | She left.",
    "• 1. First thing.",
    "The [...] text goes on. | It ends.",
    "You and I. | Albert I. Jones left.",
    "He came at 6 P.M. | Then he ate.",
    "He likes art. | Max. 5 people fit.",
    "See https://x.org/the.end.Next now. | Mail the.end.Next@x.org or see Example.Com.",
    "Wow!|Really?|Yes.",
    "“Is it?” Mr. Lee asked his wife. | “Is it?” | Mr. Lee replied that it was.",
    "¿Qué? | ¡No! | Él se fue.",
    "Он пришёл. | Она ушла.",
    "هل أنت هنا؟ | نعم، أنا هنا.",
    "वह आया। | वह गया।",
    "At 5 a.m. Mr. Smith left. | He came back at 6 P.M. | Mr. Lee did not.",
    "1.) The first item | 2.) The second item",
    "1) The first | 2) The second. | It has 3) and 4) in it.",
    "a. The first | b. The second | c. The third",
    "• 9. The first | • 10. The second",
    "(i) the cost; | (ii) the time.",
    "It fell in 1998.[1] | Then it rose.² | He left.",
    "我来了。|你好吗？|“很好！”|他说。",
]
# What random texts are made of.
TOKENS = "a I no. St. U.S. e.g. end.Next 3.14 {HH} www.x.org/a,b (so that) and, or".split()
TOKENS += "— a—b - . … ... ?! 。 我，是 “why?” ' [ } é 😀".split()
TOKENS += ["\n", "\n\n", "\r\n \r\n", "\t", "\0", '"', "\u00a0", "\u2028", "x" * 30]


def texts(text, limit=200):
    return [piece.text for piece in split(text, limit)]


def pauses(text, limit=200):
    return [piece.pause for piece in split(text, limit)]


def without_space(text):
    return "".join(text.split())


# ---- sentences


@pytest.mark.parametrize("case", CASES + MORE_CASES)
def test_sentences(case):
    text = case.replace(" | ", " ").replace("|", "")
    assert sentences(text) == [sentence.strip() for sentence in case.split("|")]


# ---- pieces


def test_empty_lines_part_paragraphs_and_wrapped_lines_belong_together():
    text = "\r\n \nThe first sentence\r\nis wrapped. The second one follows.\r\n \t\r\n\r\nA new paragraph begins.\n"
    assert split(text) == [
        Piece("The first sentence is wrapped.", Pause.SENTENCE),
        Piece("The second one follows.", Pause.PARAGRAPH),
        Piece("A new paragraph begins.", Pause.PARAGRAPH),
    ]
    assert split("") == split(" \r\n\t\n") == []


@pytest.mark.parametrize(
    "written, whole",
    [
        ("an inter-\nnational af-\r\n  fair of note.", "an international affair of note."),
        ("a well-\nknown twenty-\nfive state-of-\nthe-art thing.", "a well-known twenty-five state-of-the-art thing."),
        ("the Anglo-\nSaxon B-\n52 of 1914-\n1918.", "the Anglo-Saxon B-52 of 1914-1918."),
        (
            "pre- and post-\nand near-\nor far -\na dash --\nanother - \nend.",
            "pre- and post- and near- or far - a dash -- another - end.",
        ),
        ("soft\u00ad\nened hyphen\u2010\nated.", "softened hyphenated."),
    ],
)
def test_a_word_cut_at_the_end_of_a_line_is_one_word(written, whole):
    assert texts(written) == [whole]


@pytest.mark.parametrize(
    "sentence, parts",
    [
        ("We waited for the bus, which came late; then we left.", ["We waited for the bus,", "which came late; then we left."]),
        ("We waited for the bus and nobody came to see us.", ["We waited for the bus", "and nobody came to see us."]),
        ("We waited for the red bus near our old house.", ["We waited for the red", "bus near our old house."]),
        ("We waited for the bus—nobody came to see us.", ["We waited for the bus—", "nobody came to see us."]),
        ("We waited for buses (nobody came to see us).", ["We waited for buses", "(nobody came to see us)."]),
        (
            "我们在等公共汽车来的时候看见了一个很老的朋友，他没有认出我们来了。",
            ["我们在等公共汽车来的时候看见了一个很老的朋友，", "他没有认出我们来了。"],
        ),
    ],
)
def test_long_sentences_are_cut_at_clauses_then_conjunctions_then_spaces(sentence, parts):
    assert texts(sentence, 31) == parts
    assert pauses(sentence, 31) == [Pause.CLAUSE, Pause.PARAGRAPH]


def test_parts_of_a_long_sentence_are_alike_in_length():
    for n_words in (41, 60, 100, 1000):
        lengths = [len(text) for text in texts("word " * n_words)]
        assert max(lengths) <= 200 and max(lengths) <= 1.3 * min(lengths)


@pytest.mark.parametrize(
    "whole",
    [
        "1,000,000",
        "3.14",
        "1 000 000",
        "1\u00a0000\u00a0000",
        "https://x.org/a,b;c—d",
        "www.x.org/a—b",
        "{HH AH0 L OW1}",
        "x" * 60,
    ],
)
def test_no_cut_inside_a_word_a_number_an_address_or_sounds(whole):
    for n_before in range(12):
        text = "ab " * n_before + whole + " and cd" * 5
        parts = texts(text, 20)
        assert sum(whole.replace("\u00a0", " ") in part for part in parts) == 1
        assert all(len(part) <= 20 or part == whole for part in parts)


def test_short_pieces_join_a_neighbour_of_their_paragraph():
    long = "This is a sentence of some length."
    assert texts(f"Yes. {long} {long} No.") == [f"Yes. {long}", f"{long} No."]
    assert texts(f"Yes. No. Why? {long}") == ["Yes. No. Why?", long]
    assert texts(f"Unbelievable! {long}\n\nNo.\n\n{long}") == [f"Unbelievable! {long}", "No.", long]
    assert texts(f"{long} Yes.", limit=len(long) + 4) == [long, "Yes."]
    assert pauses(f"Yes. {long} {long}") == [Pause.SENTENCE, Pause.PARAGRAPH]


def test_a_limit_below_one_is_an_error():
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        split("a", 0)


# ---- any text


@pytest.mark.parametrize("seed", range(300))
def test_random_text_loses_only_white_space_and_keeps_the_limit(seed):
    draw = random.Random(seed)
    text = "".join(draw.choice(TOKENS) + draw.choice([" ", " ", " ", ""]) for _ in range(draw.randrange(120)))
    limit = draw.choice([1, 5, 12, 40, 200])
    pieces = split(text, limit)
    assert without_space("".join(piece.text for piece in pieces)) == without_space(text)
    assert all(piece.text and piece.text == " ".join(piece.text.split()) for piece in pieces)
    assert all(len(piece.text) <= limit or " " not in piece.text for piece in pieces)
    assert not pieces or pieces[-1].pause == Pause.PARAGRAPH
    assert len(split(text, 10**9)) <= len(pieces)


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox, who is 3.14 years old, jumps over it. " * 2000,
        "word " * 50_000,
        "." * 100_000,
        ". " * 100_000,
        "." * 100_000 + "x",
        "a" * 1_000_000,
        "1" * 500_000,
        "end.Next" * 50_000,
        "“‘" * 50_000 + "x" + "’”" * 50_000,
        "?!,;:-—()[]{}" * 10_000,
        "{A " * 50_000,
        "\0" * 100_000,
        "我。" * 20_000,
        "A.\n\n" * 20_000,
        " \n" * 100_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_text_returns_quickly(text):
    start = time.process_time()
    pieces = split(text)
    assert time.process_time() - start < 5  # 0.1 to 0.6 s; minutes where the work grows with the square of the length
    assert without_space("".join(piece.text for piece in pieces)) == without_space(text)
