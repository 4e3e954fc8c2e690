"""A small text classifier: sentences with labels go in, the label of a new sentence comes out.

Words, pairs of words and groups of letters, weighted by how telling they are, under a softmax regression. It is trained
anew from its examples (half a second for a thousand), so there is no model file to keep in step with them.

scikit-learn does the same a little better (0.78 against 0.75 in cross-validation over the examples), but costs 100 MB
and seconds of importing on the way to an answer; numpy costs a tenth of both.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIGITS = re.compile(r"\d+")
_NAME = re.compile(r"(?<=\s)[A-Z][\w-]*")
_WORD = re.compile(r"[^\s,.!;:]+")
_LETTERS = (2, 3, 4)
_MARKS = frozenset({"|^|", "|nnn|", "|0|"})
_EPOCHS = 12
_RATE = 0.5
_RATE_OF_BIAS = 0.02
_HIGHEST_CLASS_WEIGHT = 3.0


@dataclass(frozen=True, slots=True)
class Guess:
    """The most likely label and its probability (0 to 1)."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Signs:
    """What a sentence shows, of the words and of the letters: places in the weights, and the weight of each sign."""

    places: list[int]
    values: list[float]


class Vocabulary:
    """The signs of a set of sentences, each with how telling it is: the rarer, the more."""

    def __init__(self, sentences: Sequence[Counter[str]]) -> None:
        found = Counter(sign for sentence in sentences for sign in sentence)
        self._places = {sign: place for place, sign in enumerate(found)}
        self._telling = [math.log((1 + len(sentences)) / (1 + count)) + 1 for count in found.values()]

    def __len__(self) -> int:
        return len(self._places)

    def knows(self, counted: Counter[str]) -> bool:
        """Tell whether any word of a sentence was in the examples; marks for names, numbers and the start are none."""
        return any(sign in self._places for sign in counted if sign[0] == "|" and sign not in _MARKS)

    def signs(self, counted: Counter[str]) -> Signs:
        """Return the known signs of a sentence; those of words and those of letters each have length one together."""
        places: list[int] = []
        values: list[float] = []
        for of_words in (True, False):
            known = [(self._places[sign], count) for sign, count in counted.items()
                     if sign in self._places and (sign[0] == "|") == of_words]
            weights = [(1 + math.log(count)) * self._telling[place] for place, count in known]
            length = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
            places += [place for place, _ in known]
            values += [weight / length for weight in weights]
        return Signs(places, values)


class IntentClassifier:
    """A trained regression; made by `train`, never changed afterwards."""

    def __init__(
        self, labels: Sequence[str], vocabulary: Vocabulary, weights: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> None:
        self._labels = list(labels)
        self._vocabulary = vocabulary
        self._weights = weights
        self._bias = bias

    def predict(self, text: str, without: Sequence[str] = ()) -> Guess:
        """Return the label `text` most likely has, other than those in `without`.

        A text without any word of the examples has every label with probability 0.
        """
        counted = counted_signs(text)
        signs = self._vocabulary.signs(counted)
        scores: list[float] = (self._weights[signs.places].T.dot(signs.values) + self._bias).tolist()
        highest = max(scores)
        shares = [math.exp(score - highest) for score in scores]
        open_to = [index for index, label in enumerate(self._labels) if label not in without]
        best = max(open_to, key=lambda index: shares[index])
        return Guess(self._labels[best], shares[best] / sum(shares) if self._vocabulary.knows(counted) else 0.0)


def counted_signs(text: str) -> Counter[str]:
    """Return the words, pairs of words and groups of letters of `text`.

    Names and numbers are replaced by marks first, since any may stand there.
    """
    marked = _DIGITS.sub(" 0 ", _NAME.sub("nnn", text)).lower()
    words = ["^", *_WORD.findall(marked)]
    counted = Counter(f"|{word}|" for word in words)
    counted.update(f"|{first} {second}|" for first, second in pairwise(words))
    for word in words:
        edged = f" {word} "
        for length in _LETTERS:
            counted.update(edged[start:start + length] for start in range(max(1, len(edged) - length + 1)))
    return counted


def train(examples: Mapping[str, Sequence[str]]) -> IntentClassifier:
    """Return a classifier of `examples` (label to sentences); the same examples give the same classifier."""
    import numpy as np  # 16 MB and a tenth of a second: only a sentence that no pattern fits is worth them

    labels = list(examples)
    counted = [counted_signs(text) for texts in examples.values() for text in texts]
    wanted = [index for index, texts in enumerate(examples.values()) for _ in texts]
    vocabulary = Vocabulary(counted)
    rows = [vocabulary.signs(each) for each in counted]
    weights = np.zeros((len(vocabulary), len(labels)), np.float32)
    bias = np.zeros(len(labels), np.float32)
    sizes = Counter(wanted)
    worth = [min(_HIGHEST_CLASS_WEIGHT, len(rows) / (len(labels) * sizes[index])) for index in range(len(labels))]
    order = np.random.default_rng(0)
    for _ in range(_EPOCHS):
        for row in order.permutation(len(rows)):
            places, values = rows[row].places, np.asarray(rows[row].values, np.float32)
            scores = values @ weights[places] + bias
            error = np.exp(scores - scores.max())
            error /= error.sum()
            error[wanted[row]] -= 1.0
            error *= worth[wanted[row]]
            weights[places] -= _RATE * np.outer(values, error)
            bias -= _RATE_OF_BIAS * error
    return IntentClassifier(labels, vocabulary, weights, bias)
