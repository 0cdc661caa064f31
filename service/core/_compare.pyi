from array import array

from service.core._text import Texts

LETTERS: int
EDITS: int
COMPARED_WORDS: int
ENDING: int
AREA: int
DATE_ABSENT: int
DATE_SAME: int
DATE_SWAPPED: int
DATE_TYPO: int
DATE_YEAR_MONTH: int
DATE_YEAR_DAY: int
DATE_MONTH_DAY: int
DATE_COMPATIBLE: int
DATE_YEAR: int
DATE_DIFFERENT: int
NUMBER_ABSENT: int
NUMBER_SAME: int
NUMBER_EDIT: int
NUMBER_ENDING: int
NUMBER_DIFFERENT: int
POSTCODE_ABSENT: int
POSTCODE_SAME: int
POSTCODE_AREA: int
POSTCODE_EDIT: int
POSTCODE_DIFFERENT: int

def jaro_winklers(a: Texts, b: Texts) -> array[float]: ...
def edit_counts(a: Texts, b: Texts, limit: int) -> array[int]: ...
def word_similarities(a: Texts, b: Texts) -> array[float]: ...
def number_levels(a: Texts, b: Texts) -> array[int]: ...
def postcode_levels(a: Texts, b: Texts) -> array[int]: ...
def date_levels(a: array[int], b: array[int]) -> array[int]: ...
