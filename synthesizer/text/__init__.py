"""Text as the synthesizer reads it: cleaned, then one id per symbol, then the end symbol."""

from synthesizer.text.cleaners import CLEANERS, Reading, TextError, Unread, clean, read, resolve_cleaner, text_to_ids
from synthesizer.text.symbols import END, PAD, PHONES, SYMBOL_SETS, SYMBOLS, ids_to_text, resolve_symbols, shown, spoken_length
from synthesizer.text.unread import UnreadCounts, is_readable, unread_in
