"""Makes `_phones.tables` out of the installed `phonenumbers`: run when the package is built.

Everything that the library knows as regular expressions becomes tables here:

- one automaton over digits: whose number a national number is and of what type (a root per country
  code), whether it fits the general description (a root per plan), which formats its leading digits
  allow (a root per country code), and its time zones (one root, over all E.164 digits);
- programs for the patterns of national and international prefixes, which capture groups and prefer
  the first alternative: a backtracking matcher runs them as `re` would;
- automata over classes of characters for what may be a phone number, an extension (read backwards)
  and a phone-context.

Nothing is written by hand that could be asked of the library, so a new release of it needs no
change here. `service/core/_phones.pyx` reads the file and says what is done with the tables.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import unicodedata
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import phonenumbers
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneMetadata,
    is_number_type_geographical,
    phonenumberutil,
)
from phonenumbers.tzdata import TIMEZONE_DATA

TARGET = Path(__file__).with_name("_phones.tables")
FORMAT = 2  # of the file; `_phones.pyx` reads this one
ALIGNMENT = 16

# In the library's order of asking; the numbers are those of model.PhoneType.
KINDS = (
    ("premium_rate", 5),
    ("toll_free", 4),
    ("shared_cost", 6),
    ("voip", 7),
    ("personal_number", 8),
    ("pager", 9),
    ("uan", 10),
    ("voicemail", 11),
)
FIXED_LINE, MOBILE, FIXED_LINE_OR_MOBILE = 1, 2, 3

Parsed = Any  # a tree of `re`


# Regular expressions as non-deterministic automata; a set of symbols is an integer with a bit each.


class Nfa:
    """States with moves on sets of symbols and moves on nothing."""

    def __init__(self, symbols_of: Callable[[object, object], int]) -> None:
        self._symbols_of = symbols_of
        self.moves: list[list[tuple[int, int]]] = []
        self.free: list[list[int]] = []

    def state(self) -> int:
        """Add a state."""
        self.moves.append([])
        self.free.append([])
        return len(self.moves) - 1

    def add(self, tree: Iterable[Parsed], start: int) -> int:
        """Add a sequence from `start` on; return the state where it ends."""
        for kind, value in tree:
            start = self._node(kind, value, start)
        return start

    def _node(self, kind: object, value: Any, start: int) -> int:
        if kind is op.SUBPATTERN:
            return self.add(value[3], start)
        if kind is op.BRANCH:
            end = self.state()
            for branch in value[1]:
                self.free[self.add(branch, start)].append(end)
            return end
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, tree = value
            return self._repeat(least, most, tree, start)
        if kind is op.AT:
            assert value in (op.AT_BEGINNING, op.AT_END), value
            return start  # all of these automata match the whole of their text
        end = self.state()
        self.moves[start].append((self._symbols_of(kind, value), end))
        return end

    def _repeat(self, least: int, most: int, tree: Parsed, start: int) -> int:
        for _ in range(least):
            start = self.add(tree, start)
        if most is op.MAXREPEAT:
            loop = self.state()
            self.free[start].append(loop)
            self.free[self.add(tree, loop)].append(loop)
            return loop
        end = self.state()
        self.free[start].append(end)
        for _ in range(most - least):
            start = self.add(tree, start)
            self.free[start].append(end)
        return end

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        """Return the states that are reached on nothing."""
        reached = set(states)
        waiting = list(reached)
        while waiting:
            for state in self.free[waiting.pop()]:
                if state not in reached:
                    reached.add(state)
                    waiting.append(state)
        return frozenset(reached)

    def reached(self, start: int, symbols: Iterable[int]) -> frozenset[int]:
        """Return the states that texts of these symbols lead to."""
        seen, waiting = set[frozenset[int]](), [self.closed([start])]
        while waiting:
            states = waiting.pop()
            if states not in seen:
                seen.add(states)
                waiting += (self.step(states, symbol) for symbol in symbols)
        return frozenset().union(*seen)

    def step(self, states: frozenset[int], symbol: int) -> frozenset[int]:
        """Return the states that are reached on a symbol."""
        bit = 1 << symbol
        return self.closed(
            end for state in states for symbols, end in self.moves[state] if symbols & bit
        )


def digits_of(kind: object, value: Any) -> int:
    """Return the ASCII digits that an item of a pattern matches, as a set of symbols."""
    if kind is op.LITERAL:
        return 1 << "0123456789".index(chr(value))
    assert kind is op.IN, kind
    found = 0
    for part, what in value:
        if part is op.LITERAL:
            found |= digits_of(part, what)
        elif part is op.RANGE:
            for code in range(what[0], what[1] + 1):
                found |= digits_of(op.LITERAL, code)
        else:
            assert (part, what) == (op.CATEGORY, op.CATEGORY_DIGIT), (part, what)
            found |= 0x3FF
    return found


# The automaton over digits: nodes that are equal are one.

Node = int
SELF: Node = -1  # a successor: the node itself
DEAD: Node = 0


class Digits:
    """Nodes of a label and ten successors each, made from the leaves up; equal ones once."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.successors: list[tuple[Node, ...]] = []
        self._nodes: dict[tuple[int, tuple[Node, ...]], Node] = {}
        assert self.node(0, (SELF,) * 10) == DEAD

    def node(self, label: int, successors: tuple[Node, ...]) -> Node:
        """Return the node with this label and these successors."""
        key = (label, successors)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = len(self.labels)
            self.labels.append(label)
            self.successors.append(tuple(node if one == SELF else one for one in successors))
        return node

    def explore(
        self,
        start: Any,
        label_of: Callable[[Any], int],
        step: Callable[[Any, int], Any],
    ) -> Node:
        """Make the nodes of an automaton whose only loops are those of a state to itself."""
        made: dict[Any, Node] = {}

        def visit(state: Any) -> Node:
            if state not in made:
                after = [step(state, digit) for digit in range(10)]
                nodes = tuple(SELF if one == state else visit(one) for one in after)
                made[state] = self.node(label_of(state), nodes)
            return made[state]

        return visit(start)

    def pattern(self, pattern: str, lengths: Sequence[int] = (), *, prefix: bool = False) -> Node:
        """Make the nodes of a pattern, label 1 where it matches.

        `lengths`: the only ones to match. With `prefix` it matches whatever follows as well.
        """
        assert not (prefix and "$" in pattern), pattern
        nfa = Nfa(digits_of)
        first = nfa.state()
        last = nfa.add(_parser.parse(pattern), first)
        longest = max(lengths, default=phonenumberutil._MAX_INPUT_STRING_LENGTH)

        def label(state: tuple[frozenset[int], int]) -> int:
            states, length = state
            return int(last in states and (not lengths or length in lengths))

        def step(state: tuple[frozenset[int], int], digit: int) -> tuple[frozenset[int], int]:
            states, length = state
            if prefix and last in states:
                return state
            after = nfa.step(states, digit)
            if not after or length == longest:
                return frozenset(), -1
            return after, length + 1 if lengths else 0

        return self.explore((nfa.closed([first]), 0), label, step)

    def product(self, nodes: Sequence[Node], label_of: Callable[[list[int]], int]) -> Node:
        """Make the nodes of several automata run side by side, labelled by all their labels."""

        def label(state: tuple[Node, ...]) -> int:
            return label_of([self.labels[node] for node in state])

        def step(state: tuple[Node, ...], digit: int) -> tuple[Node, ...]:
            return tuple(self.successors[node][digit] for node in state)

        return self.explore(tuple(nodes), label, step)

    def pruned(self, roots: Sequence[Node]) -> tuple[array[int], array[int], list[Node]]:
        """Return labels, successors and roots of the nodes that are reached; DEAD stays 0."""
        numbers = {DEAD: 0}
        order = [DEAD]
        for root in roots:
            waiting = [root]
            while waiting:
                node = waiting.pop()
                if node in numbers and node != DEAD:
                    continue
                if node != DEAD:
                    numbers[node] = len(order)
                    order.append(node)
                waiting += (one for one in self.successors[node] if one not in numbers)
        assert len(order) < 1 << 16
        labels = array("H", (self.labels[node] for node in order))
        moves = array("H", (numbers[one] for node in order for one in self.successors[node]))
        return labels, moves, [numbers[root] for root in roots]


# Numbering plans


def plan_of(country_code: int, region: str) -> Any:
    """Return the library's metadata, None where it has none."""
    return PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)


def ranges_node(digits: Digits, plan: Any) -> Node:
    """Make the automaton of a plan: label is the type, 0 where the number is not valid."""

    def node(name: str) -> Node:
        range_ = getattr(plan, name)
        if range_ is None or not range_.national_number_pattern:
            return DEAD
        return digits.pattern(range_.national_number_pattern, range_.possible_length)

    names = ("general_desc", *(name for name, _ in KINDS), "fixed_line", "mobile")
    is_one_range = plan.same_mobile_and_fixed_line_pattern

    def kind(labels: list[int]) -> int:
        general, *special, fixed, mobile = labels
        if not general:
            return 0
        for matched, (_, number) in zip(special, KINDS, strict=True):
            if matched:
                return number
        if fixed:
            return FIXED_LINE_OR_MOBILE if is_one_range or mobile else FIXED_LINE
        return MOBILE if mobile and not is_one_range else 0

    return digits.product([node(name) for name in names], kind)


def country_node(digits: Digits, country_code: int, region_ids: dict[str, int]) -> Node:
    """Make the automaton of a country code: label is region << 4 | type, as `number_type` does."""
    nodes: list[Node] = []
    regions: list[tuple[str, bool]] = []
    codes = COUNTRY_CODE_TO_REGION_CODE[country_code]
    for region in codes:
        plan = plan_of(country_code, region)
        if plan is None:
            continue
        has_leading = plan.leading_digits is not None and len(codes) > 1
        regions.append((region, has_leading))
        nodes.append(ranges_node(digits, plan))
        nodes.append(digits.pattern(plan.leading_digits, prefix=True) if has_leading else DEAD)

    def label(labels: list[int]) -> int:
        for number, (region, has_leading) in enumerate(regions):
            kind, leads = labels[2 * number], labels[2 * number + 1]
            if len(codes) == 1 or leads or (kind and not has_leading):
                return region_ids[region] << 4 | kind
        return 0

    return digits.product(nodes, label)


# Programs of prefixes: u32 each, the operation in the low byte. They have no loops.

DIGIT, SPLIT, JUMP, SAVE, AT_END, MATCH = range(6)
SPLITS_LIMIT = 128  # room that the kernel has for what is still to be tried
PREFIX_GROUPS_LIMIT = 3  # and for positions of groups


def program(pattern: str, start: int = 0) -> list[int]:
    """Compile a pattern over digits for the backtracking matcher, which prefers as `re` does.

    DIGIT: one of the digits whose bits are set above bit 8. SPLIT: go on, and if that fails, at
    the operand. SAVE: note the position in the slot of the operand (2 × group, + 1 at its end).
    Operands that are places count from `start`, where the program will begin.
    """
    code: list[int] = []

    def emit(kind: int, operand: int = 0) -> int:
        code.append(kind | operand << 8)
        return len(code) - 1

    def alternatives(trees: Sequence[Any]) -> None:
        ends = []
        for tree in trees[:-1]:
            split = emit(SPLIT)
            sequence(tree)
            ends.append(emit(JUMP))
            code[split] = SPLIT | start + len(code) << 8
        sequence(trees[-1])
        for end in ends:
            code[end] = JUMP | start + len(code) << 8

    def sequence(tree: Iterable[Parsed]) -> None:
        for kind, value in tree:
            if kind is op.SUBPATTERN:
                group = value[0]
                if group is not None:
                    emit(SAVE, 2 * group)
                sequence(value[3])
                if group is not None:
                    emit(SAVE, 2 * group + 1)
            elif kind is op.BRANCH:
                alternatives(value[1])
            elif kind is op.MAX_REPEAT:
                least, most, inner = value
                assert most is not op.MAXREPEAT
                for _ in range(least):
                    sequence(inner)
                splits = []
                for _ in range(most - least):
                    splits.append(emit(SPLIT))
                    sequence(inner)
                for split in splits:
                    code[split] = SPLIT | start + len(code) << 8
            elif kind is op.AT:
                assert value is op.AT_END
                emit(AT_END)
            else:
                emit(DIGIT, digits_of(kind, value))

    sequence(_parser.parse(pattern))
    emit(MATCH)
    assert sum(one & 0xFF == SPLIT for one in code) <= SPLITS_LIMIT
    return code


def first_digits(pattern: str) -> int:
    """Return the digits that a match can begin with, as bits; all where it can be empty."""
    nfa = Nfa(digits_of)
    start = nfa.state()
    end = nfa.add(_parser.parse(pattern), start)
    states = nfa.closed([start])
    if end in states:
        return 0x3FF
    return sum(1 << digit for digit in range(10) if nfa.step(states, digit))


# Text: automata over classes of characters


class Classes:
    """Characters that no pattern tells apart are one class."""

    def __init__(self) -> None:
        self._everything = "".join(map(chr, range(sys.maxunicode + 1)))
        self._atoms: dict[tuple[str, int], set[int]] = {}
        self.classes: list[int] = []  # of each code point
        self._members: list[set[int]] = []

    def note(self, pattern: str, flags: int) -> None:
        """Ask which characters each item of a pattern matches."""
        for text in _items(_parser.parse(pattern, flags)):
            if (text, flags) not in self._atoms:
                found = re.finditer(text, self._everything, flags)
                self._atoms[text, flags] = {match.start() for match in found}

    def note_set(self, name: str, members: Iterable[int]) -> None:
        """Tell a set of characters apart."""
        self._atoms[name, -1] = set(members)

    def divide(self) -> None:
        """Make the classes."""
        signatures = [0] * (sys.maxunicode + 1)
        for bit, members in enumerate(self._atoms.values()):
            for code in members:
                signatures[code] |= 1 << bit
        numbers: dict[int, int] = {}
        # Class 0 is what no pattern knows.
        numbers[0] = 0
        self.classes = [numbers.setdefault(one, len(numbers)) for one in signatures]
        self._members = [set() for _ in numbers]
        for code, one in enumerate(self.classes):
            self._members[one].add(code)

    def __len__(self) -> int:
        return len(self._members)

    def examples(self) -> list[str]:
        """Return one character of each class."""
        return [chr(next(iter(members))) for members in self._members]

    def symbols(self, text: str, flags: int) -> int:
        """Return the classes that an item matches, as a set of symbols."""
        members = self._atoms[text, flags]
        found = 0
        for number, inside in enumerate(self._members):
            one = next(iter(inside))
            if one in members:
                assert inside <= members
                found |= 1 << number
        return found

    def nfa(self, flags: int) -> Nfa:
        """Return an empty automaton over the classes."""
        return Nfa(lambda kind, value: self.symbols(_item(kind, value), flags))


def _items(tree: Iterable[Parsed]) -> Iterable[str]:
    for kind, value in tree:
        if kind is op.SUBPATTERN:
            yield from _items(value[3])
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _items(branch)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            yield from _items(value[2])
        elif kind is not op.AT:
            yield _item(kind, value)


def _item(kind: object, value: Any) -> str:
    """Return a pattern of one character for an item of a tree."""
    if kind is op.LITERAL:
        return f"\\U{value:08x}"
    if kind is op.NOT_LITERAL:
        return f"[^\\U{value:08x}]"
    assert kind is op.IN, kind
    parts = []
    for part, what in value:
        if part is op.NEGATE:
            parts.append("^")
        elif part is op.LITERAL:
            parts.append(f"\\U{what:08x}")
        elif part is op.RANGE:
            parts.append(f"\\U{what[0]:08x}-\\U{what[1]:08x}")
        else:
            categories = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_WORD: r"\w"}
            parts.append(categories[what])
    return f"[{''.join(parts)}]"


def reversed_tree(tree: Iterable[Parsed]) -> list[Parsed]:
    """Return the tree that matches the same texts read backwards."""
    turned: list[Parsed] = []
    for kind, value in tree:
        if kind is op.SUBPATTERN:
            value = (*value[:3], reversed_tree(value[3]))
        elif kind is op.BRANCH:
            value = (value[0], [reversed_tree(branch) for branch in value[1]])
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            value = (value[0], value[1], reversed_tree(value[2]))
        turned.append((kind, value))
    return turned[::-1]


def automaton(nfa: Nfa, start: int, accepts: dict[int, int], symbols: int) -> array[int]:
    """Return rows of u16: the label of a state, then its successor for each symbol.

    State 0 is dead, state 1 the start. A label is the bits of what accepts there. Minimal.
    """
    first = nfa.closed([start])
    numbers = {frozenset[int](): 0, first: 1}
    order = [frozenset[int](), first]
    rows: list[list[int]] = []
    for states in order:  # grows
        row = []
        for symbol in range(symbols):
            after = nfa.step(states, symbol)
            if after not in numbers:
                numbers[after] = len(order)
                order.append(after)
            row.append(numbers[after])
        rows.append(row)
    labels = [sum(bit for state, bit in accepts.items() if state in one) for one in order]
    groups, count = labels, 0
    while True:  # Moore: tell states apart until nothing new tells them
        seen: dict[tuple[int, ...], int] = {}
        groups = [
            seen.setdefault((groups[i], *(groups[j] for j in rows[i])), len(seen))
            for i in range(len(order))
        ]
        if len(seen) == count:
            break
        count = len(seen)
    # Groups are numbered by their first state: dead is 0, start is 1.
    assert groups[:2] == [0, 1]
    table = array("H")
    done = set()
    for i, group in enumerate(groups):
        if group not in done:
            done.add(group)
            table.append(labels[i])
            table.extend(groups[j] for j in rows[i])
    return table


# Extensions: label in front of the digits (as a tree), most digits, and whether "#" may or must end
# them. The library's pattern is cut open so that its parts can be read backwards.

HASH_NEVER, HASH_MAY, HASH_MUST = 0, 1, 2


def extension_parts() -> list[tuple[list[Parsed], int, int]]:
    """Take the alternatives of the library's pattern of extensions apart."""
    flags = phonenumberutil._REGEX_FLAGS
    (branch,) = _parser.parse(phonenumberutil._EXTN_PATTERNS_FOR_PARSING, flags)
    assert branch[0] is op.BRANCH
    parts = []
    for alternative in branch[1][1]:
        tree = list(alternative)
        suffix = HASH_NEVER
        is_hash = [(op.LITERAL, ord("#"))]
        if tree[-1][0] is op.MAX_REPEAT and list(tree[-1][1][2]) == is_hash:
            _, repeat = tree.pop()
            assert repeat[:2] == (0, 1)
            suffix = HASH_MAY
        elif tree[-1:] == is_hash:
            tree.pop()
            suffix = HASH_MUST
        kind, (_group, _, _, inner) = tree.pop()
        assert kind is op.SUBPATTERN
        ((repeat, (least, most, item)),) = inner
        assert (repeat, least) == (op.MAX_REPEAT, 1)
        assert list(item) == [(op.IN, [(op.CATEGORY, op.CATEGORY_DIGIT)])]
        parts.append((tree, most, suffix))
    return parts


VIABLE = phonenumberutil._VALID_PHONE_NUMBER_PATTERN.pattern
CONTEXTS = (
    phonenumberutil._RFC3966_GLOBAL_NUMBER_DIGITS_PATTERN.pattern,
    phonenumberutil._RFC3966_DOMAINNAME_PATTERN.pattern,
)
FLAGS = int(phonenumberutil._REGEX_FLAGS)
CONTEXT_FLAGS = int(re.UNICODE)
KEYPAD = phonenumberutil._ALPHA_PHONE_MAPPINGS

# What a step of the library looks for; each is a bit of the traits, in this order.
TRAITS = {
    "start": phonenumberutil._VALID_START_CHAR,
    "plus": f"[{phonenumberutil._PLUS_CHARS}]",
    "unwanted": r"(?:_|[^#\w])",
    "letter": "[A-Za-z]",
    "decimal": r"[\d]",
    "hash": "#",
    "semicolon": ";",
}


def text_classes() -> Classes:
    """Divide all characters by whatever the library asks of one."""
    classes = Classes()
    classes.note(VIABLE, FLAGS)
    for context in CONTEXTS:
        classes.note(context, CONTEXT_FLAGS)
    for trait in TRAITS.values():
        classes.note(trait, CONTEXT_FLAGS)
    everything = range(sys.maxunicode + 1)
    for value in range(10):
        digits = (code for code in everything if unicodedata.digit(chr(code), -1) == value)
        classes.note_set(f"digit {value}", digits)
        keys = (code for code in everything if KEYPAD.get(chr(code).upper()) == str(value))
        classes.note_set(f"key {value}", keys)
    classes.divide()
    assert len(classes) < 256
    return classes


def class_tables(classes: Classes) -> dict[str, bytes]:
    """Make what says the class of a character, in blocks of 256, and the traits of a class.

    Traits are three bytes: the bits of TRAITS, the digit and the key of a telephone; 255 for none.
    """
    traits = bytearray()
    for one in classes.examples():
        bits = [bool(re.fullmatch(trait, one)) for trait in TRAITS.values()]
        traits.append(sum(1 << bit for bit, has in enumerate(bits) if has))
        traits.append(unicodedata.digit(one, 255))
        traits.append(int(KEYPAD.get(one.upper(), "255")))
    blocks: dict[bytes, int] = {}
    index = bytearray()
    for start in range(0, len(classes.classes), 256):
        block = bytes(classes.classes[start : start + 256])
        index += struct.pack("=H", blocks.setdefault(block, len(blocks)))
    return {
        "class_index": bytes(index),
        "class_blocks": b"".join(blocks),
        "class_traits": bytes(traits),
    }


def text_tables() -> dict[str, bytes]:
    """Make the classes of characters and the automata over them."""
    classes = text_classes()
    viable = classes.nfa(FLAGS)
    start = viable.state()
    viable_ends = {viable.add(_parser.parse(VIABLE, FLAGS), start): 1}

    context = classes.nfa(CONTEXT_FLAGS)
    start = context.state()
    context_ends = {context.add(_parser.parse(one, CONTEXT_FLAGS), start): 1 for one in CONTEXTS}

    extension = classes.nfa(FLAGS)
    start = extension.state()
    extension_ends, limits = {}, bytearray()
    plain_ends = set()
    for number, (tree, most, suffix) in enumerate(extension_parts()):
        end = extension.add(reversed_tree(tree), start)
        extension_ends[end] = 1 << number
        limits += bytes([most, suffix])
        if suffix != HASH_MUST:
            plain_ends.add(end)
    symbols = [classes.classes[ord(one)] for one in PLAIN_SEPARATORS]
    assert not plain_ends & extension.reached(start, symbols), "a plain number has an extension"
    return {
        **class_tables(classes),
        "plain": plain_bytes(),
        "viable": automaton(viable, start, viable_ends, len(classes)).tobytes(),
        "context": automaton(context, start, context_ends, len(classes)).tobytes(),
        "extension": automaton(extension, start, extension_ends, len(classes)).tobytes(),
        "extension_limits": bytes(limits),
    }


# What the kernel reads without looking at classes: ASCII digits with a plus in front and separators
# that do nothing but separate. That no label of an extension is made of them is checked above.

PLAIN_SEPARATORS = " -./()[]"
PLAIN_SEPARATOR, PLAIN_PLUS, NOT_PLAIN = 16, 32, 64


def plain_bytes() -> bytes:
    """Return what each byte of a plain number is: the value of a digit, or one of the above."""
    for one in PLAIN_SEPARATORS:
        assert re.fullmatch(f"[{phonenumberutil._VALID_PUNCTUATION}]", one), one
        assert re.fullmatch(TRAITS["unwanted"], one), one
    kinds = {ord(one): PLAIN_SEPARATOR for one in PLAIN_SEPARATORS}
    kinds[ord("+")] = PLAIN_PLUS
    kinds |= {ord(str(value)): value for value in range(10)}
    return bytes(kinds.get(byte, NOT_PLAIN) for byte in range(256))


# The plans' own tables

PLAN = struct.Struct("=HHHHIIiiHHBBBB6s")  # see `Plan` in _phones.pyx


def lengths_mask(lengths: Iterable[int]) -> int:
    """Return possible lengths as bits."""
    return sum(1 << length for length in lengths if length > 0)


def transform(rule: str | None) -> tuple[int, bytes]:
    r"""Return group and literal of a transform rule ("268\1"); group 0 where there is none."""
    if not rule:
        return 0, b""
    match = re.fullmatch(r"(\d*)\\(\d)", rule)
    assert match is not None, rule
    assert len(match[1]) <= 6, rule
    return int(match[2]), match[1].encode()


class Plans:
    """Every plan of the library, as rows of `PLAN`; a region's or a country code's."""

    def __init__(self, digits: Digits) -> None:
        self._digits = digits
        self.rows: list[tuple[Any, ...]] = []
        self.general: list[Node] = []
        self.code: list[int] = []
        self._programs: dict[str, int] = {}

    def add(self, country_code: int, plan: Any) -> int:
        """Add a plan; return its number."""
        assert plan.country_code == country_code
        general = plan.general_desc
        self.general.append(self._digits.pattern(general.national_number_pattern))
        prefix, idd = plan.national_prefix_for_parsing or "", plan.international_prefix or ""
        group, literal = transform(plan.national_prefix_transform_rule)
        groups = re.compile(prefix).groups
        assert group <= groups <= PREFIX_GROUPS_LIMIT, "the library looks at the last group"
        assert not set(general.possible_length) & set(general.possible_length_local_only)
        assert min(general.possible_length) >= 2, "the library refuses what is shorter"
        assert max(*general.possible_length, *general.possible_length_local_only, 0) < 32
        self.rows.append(
            (
                country_code,
                groups,
                first_digits(prefix) if prefix else 0,
                first_digits(idd) if idd else 0,
                lengths_mask(general.possible_length),
                lengths_mask(general.possible_length_local_only),
                self._program(prefix),
                self._program(idd),
                0,  # the root of the general description, filled in at the end
                0,
                min(general.possible_length),
                max(general.possible_length),
                group,
                len(literal),
                literal,
            )
        )
        return len(self.rows) - 1

    def _program(self, pattern: str) -> int:
        if not pattern:
            return -1
        if pattern not in self._programs:
            self._programs[pattern] = len(self.code)
            assert re.compile(pattern).groups <= PREFIX_GROUPS_LIMIT
            self.code += program(pattern, len(self.code))
        return self._programs[pattern]

    def packed(self, roots: Sequence[int]) -> bytes:
        """Return the rows, with the roots of their general descriptions."""
        return b"".join(
            PLAN.pack(*row[:8], root, *row[9:]) for row, root in zip(self.rows, roots, strict=True)
        )


@cache
def _braced(rule: str) -> tuple[tuple[str, int], ...]:
    r"""Split a format ("\1 \2") into texts, each with the group after it; the last has none, 0."""
    parts, at = [], 0
    for match in re.finditer(r"\\(\d)", rule):
        parts.append((rule[at : match.start()], int(match[1])))
        at = match.end()
    return (*parts, (rule[at:], 0))


RULE_LIMIT_BYTES = 64  # what stands between the groups; the kernel has room for it


class Formats:
    """How numbers are grouped: per country code, its formats in the library's order."""

    def __init__(self, digits: Digits) -> None:
        self._digits = digits
        self.groups: list[list[list[int]]] = []  # of each format: least and most digits
        self.rules: list[list[tuple[tuple[str, int], ...]]] = []  # within the country, and abroad
        self.masks: dict[int, int] = {0: 0}
        self.countries: dict[int, tuple[int, int, int]] = {}

    def add(self, country_code: int, plan: Any) -> Node:
        """Add a country code; return the root that says which formats its leading digits allow."""
        national, abroad = list(plan.number_format), list(plan.intl_number_format)
        nodes = []
        first = len(self.groups)
        for one in (*national, *abroad):
            leading = one.leading_digits_pattern[-1:]
            nodes.append(self._digits.pattern(leading[0] if leading else "", prefix=True))
            tree = _parser.parse(one.pattern)
            self.groups.append([self._group(item) for item in tree])
            rule = one.format
            prefixed = one.national_prefix_formatting_rule
            within = re.sub(r"(\\\d)", prefixed, rule, count=1) if prefixed else rule
            self.rules.append([_braced(within), _braced(rule)])
            for parts in self.rules[-1]:
                used = [group for _, group in parts[:-1]]
                assert len(used) == len(set(used)) <= len(self.groups[-1]) >= max(used)
                assert sum(len(text.encode()) for text, _ in parts) <= RULE_LIMIT_BYTES
        assert len(nodes) <= 64
        self.countries[country_code] = (first, len(national), len(abroad))

        def label(labels: list[int]) -> int:
            mask = sum(1 << bit for bit, one in enumerate(labels) if one)
            return self.masks.setdefault(mask, len(self.masks))

        return self._digits.product(nodes, label)

    @staticmethod
    def _group(item: Parsed) -> list[int]:
        kind, value = item
        assert kind is op.SUBPATTERN
        (inner,) = value[3]
        if inner[0] is op.MAX_REPEAT:
            least, most, inner = inner[1][0], inner[1][1], inner[1][2][0]
        else:
            least = most = 1
        assert digits_of(*inner) == 0x3FF
        return [least, most]


def time_zones_node(digits: Digits) -> tuple[Node, list[list[str]]]:
    """Make the automaton of time zones: label is 1 + the number of the list, by longest prefix."""
    zones: dict[tuple[str, ...], int] = {(): 0}
    labels = {
        prefix: zones.setdefault(tuple(names), len(zones))
        for prefix, names in TIMEZONE_DATA.items()
    }
    inner = {prefix[:size] for prefix in labels for size in range(len(prefix))}

    # A state: the prefix so far, "-" where no longer one is listed; the label of the longest.
    def step(state: tuple[str, int], digit: int) -> tuple[str, int]:
        prefix, label = state
        if prefix == "-":
            return state
        prefix += str(digit)
        label = labels.get(prefix, label)
        return (prefix if prefix in inner else "-", label)

    root = digits.explore(("", 0), lambda state: int(state[1]), step)
    return root, [list(names) for names in zones]


def tables() -> bytes:
    """Return the contents of the file."""
    digits = Digits()
    plans, formats = Plans(digits), Formats(digits)
    known = {region for codes in COUNTRY_CODE_TO_REGION_CODE.values() for region in codes}
    regions = ["", phonenumbers.UNKNOWN_REGION, *sorted(known)]
    region_ids = {region: number for number, region in enumerate(regions)}
    region_plans = [-1] * len(regions)
    roots: list[Node] = []
    countries: list[list[Any]] = []
    for country_code, codes in sorted(COUNTRY_CODE_TO_REGION_CODE.items()):
        main = plan_of(country_code, codes[0])
        plan = plans.add(country_code, main)
        if codes[0] in phonenumbers.SUPPORTED_REGIONS:
            region_plans[region_ids[codes[0]]] = plan
        for region in codes[1:]:
            region_plans[region_ids[region]] = plans.add(
                country_code, plan_of(country_code, region)
            )
        roots.append(country_node(digits, country_code, region_ids))
        roots.append(formats.add(country_code, main))
        extension = main.preferred_extn_prefix or phonenumberutil._DEFAULT_EXTN_PREFIX
        countries.append([country_code, plan, geographic_types(country_code), extension])
        countries[-1] += formats.countries[country_code]
    zones_root, zones = time_zones_node(digits)
    labels, moves, numbered = digits.pruned([*roots, *plans.general, zones_root])
    for number, country in enumerate(countries):
        country += numbered[2 * number : 2 * number + 2]
    header: dict[str, Any] = {
        "format": FORMAT,
        "phonenumbers": phonenumbers.__version__,
        "unicode": unicodedata.unidata_version,
        "regions": regions,
        "region_plans": region_plans,
        "countries": countries,
        "groups": formats.groups,
        "rules": formats.rules,
        "time_zones": zones,
        "time_zones_root": numbered[-1],
    }
    sections = {
        "labels": labels.tobytes(),
        "moves": moves.tobytes(),
        "plans": plans.packed(numbered[len(roots) : -1]),
        "code": array("I", plans.code).tobytes(),
        "masks": array("Q", formats.masks).tobytes(),
        **text_tables(),
    }
    return packed(header, sections)


def geographic_types(country_code: int) -> int:
    """Return the types whose numbers belong to a place, as bits."""
    types = range(phonenumbers.PhoneNumberType.VOICEMAIL + 1)
    return sum(1 << 1 + one for one in types if is_number_type_geographical(one, country_code))


def packed(header: dict[str, Any], sections: dict[str, bytes]) -> bytes:
    """Return a file: the size of its header, the header, and the sections that it tells of."""
    body, places = bytearray(), {}
    for name, content in sections.items():
        places[name] = [len(body), len(content)]
        body += content + bytes(-len(content) % ALIGNMENT)
    header = {**header, "sections": places, "checksum": zlib.crc32(body)}
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-(len(head) + 4) % ALIGNMENT)
    return struct.pack("=I", len(head)) + head + body


def main() -> None:
    """Write the file, whole or not at all."""
    draft = TARGET.with_suffix(".draft")
    draft.write_bytes(tables())
    draft.replace(TARGET)


if __name__ == "__main__":
    main()
